"""JUnit XML and Markdown: what pipelines show, whatever names a report brings."""

import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from auditor.policy.junit import junit_xml
from auditor.policy.markdown import MAX_ROWS, markdown
from auditor.policy.result import Finding, Outcome
from tests.support.reports import make_report
from tests.unit.policy.test_bounds import EFFECT, gate

FAILS = {**EFFECT, "at_most": 0.1}
OPEN = {**EFFECT, "at_most": 0.3}


def test_junit_counts_fails_as_failures_and_open_ones_as_errors() -> None:
    failed = ET.fromstring(junit_xml(gate(FAILS, make_report())))  # noqa: S314 - ours
    open_ = ET.fromstring(junit_xml(gate(OPEN, make_report())))  # noqa: S314 - ours

    assert (failed.get("failures"), failed.get("errors")) == ("1", "0")
    assert (open_.get("failures"), open_.get("errors")) == ("0", "1")
    case = failed.find("testsuite/testcase")
    assert case is not None
    assert (case.get("classname"), case.get("name")) == ("rule 0", "skip vendor on cue")
    assert "ml-platform" in str(open_.find("testsuite/testcase/error").text)  # type: ignore[union-attr]


def test_markdown_lists_what_failed_and_names_the_stage() -> None:
    text = markdown(gate(FAILS, make_report()))

    assert text.startswith("### Gate release fails\n")
    assert "| fail | rule 0 | skip vendor: effect on cue is +0.25 probability" in text


def test_markdown_of_a_pass_has_no_table() -> None:
    text = markdown(gate({**EFFECT, "at_most": 1.0}, make_report()))

    assert text.startswith("### Gate release passes\n")
    assert "|" not in text


def test_markdown_is_cut_and_says_so() -> None:
    result = gate(FAILS, make_report())
    many = result.model_copy(update={"findings": result.findings * (MAX_ROWS + 3)})

    text = markdown(many)

    assert text.count("| fail |") == MAX_ROWS
    assert "3 more are in the JSON result." in text


@given(st.text(min_size=1, max_size=60))
def test_hostile_names_stay_text(name: str) -> None:
    result = gate(FAILS, make_report())
    finding = Finding(rule="r", check="effect", outcome=Outcome.FAIL, message=name)
    hostile = result.model_copy(update={"findings": (finding,)})

    case = ET.fromstring(junit_xml(hostile)).find("testsuite/testcase")  # noqa: S314 - ours
    row = next(line for line in markdown(hostile).splitlines() if line.startswith("| fail"))

    assert case is not None
    assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert not re.search(r"(?<!\\)[<`]", row)
