"""Figures agree bit for bit, within the tolerance of their query's size, or not."""

from typing import Any

import pytest

from auditor.report.agreement import Comparison, compared_reports
from auditor.report.reproduction import Agreement
from auditor.report.schema import EvaluationData, Examples, Report
from auditor.stagelog.digest import sha256
from tests.support.reports import make_effect, make_report

ELSEWHERE = Comparison(tolerance=1e-4, same_bits=False)
SAME_BITS = Comparison(tolerance=1e-4, same_bits=True)
ROW = "effects[skip vendor on cue]"


def with_effect(**changes: Any) -> Report:
    return make_report(effects=(make_effect(**changes),))


def agreements(
    again: Report, how: Comparison, signed: Report | None = None
) -> dict[str, Agreement]:
    found = compared_reports(signed or make_report(), again, how=how)
    return {figure.where: figure.agreement for figure in found}


def apart(found: dict[str, Agreement]) -> dict[str, Agreement]:
    return {where: own for where, own in found.items() if own is not Agreement.IDENTICAL}


def test_equal_reports_are_identical_in_every_figure() -> None:
    found = agreements(make_report(), ELSEWHERE)

    assert f"{ROW}.value" in found
    assert "queries[cue].value" in found
    assert apart(found) == {}


@pytest.mark.parametrize(
    ("value", "agreement"),
    # The query's value is 0.5: the tolerance is 5e-5, however small the effect.
    [(0.25 + 4e-5, Agreement.WITHIN), (0.25 + 6e-5, Agreement.DIFFERENT)],
)
def test_tolerance_is_relative_to_the_value_of_the_query(
    value: float, agreement: Agreement
) -> None:
    assert apart(agreements(with_effect(value=value), ELSEWHERE)) == {f"{ROW}.value": agreement}


def test_where_all_bits_are_the_same_figures_differ_by_statistics_only() -> None:
    assert apart(agreements(with_effect(value=0.25 + 1e-12), SAME_BITS)) == {
        f"{ROW}.value": Agreement.WITHIN
    }
    assert apart(agreements(with_effect(value=0.25 + 1e-6), SAME_BITS)) == {
        f"{ROW}.value": Agreement.DIFFERENT
    }


def test_sentences_may_differ_in_their_figures_only() -> None:
    signed, close = with_effect(statement="lower by 0.25."), with_effect(statement="lower by 0.3.")
    other = with_effect(statement="higher by 0.25.")
    place = f"{ROW}.statement"

    assert apart(agreements(close, ELSEWHERE, signed)) == {place: Agreement.WITHIN}
    assert apart(agreements(close, SAME_BITS, signed)) == {place: Agreement.DIFFERENT}
    assert apart(agreements(other, ELSEWHERE, signed)) == {place: Agreement.DIFFERENT}


def test_verdicts_counts_and_absent_figures_have_no_tolerance() -> None:
    again = with_effect(verdict="within replay spread", n=101, low=None)

    assert apart(agreements(again, ELSEWHERE)) == dict.fromkeys(
        [f"{ROW}.verdict", f"{ROW}.n", f"{ROW}.low"], Agreement.DIFFERENT
    )


def test_digests_of_computed_numbers_follow_their_bits_and_others_do_not() -> None:
    data = EvaluationData(digest=sha256(b"other"), name="held out", examples=100)
    signed = make_report(examples=Examples(digest=sha256(b"one")))
    again = make_report(examples=Examples(digest=sha256(b"two")), evaluation_data=(data,))

    assert apart(agreements(again, ELSEWHERE, signed)) == {
        "examples.digest": Agreement.WITHIN,
        "evaluation_data[0].digest": Agreement.DIFFERENT,
    }


def test_what_does_not_follow_from_the_request_is_not_compared() -> None:
    again = make_report(run=None, limitations=(), assurance="reproduced")

    assert apart(agreements(again, SAME_BITS)) == {}
