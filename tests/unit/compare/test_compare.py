"""Two reports: what differs first, rows matched, and what is not about the same thing."""

from typing import Any

import pytest

from auditor.compare.compare import compare
from auditor.compare.markdown import comparison_markdown
from auditor.compare.result import ComparedRow, Comparison
from auditor.effects import Better, Verdict
from auditor.policy.judge import Judged
from auditor.report.schema import EvaluationData, QueryValue, Report
from auditor.stagelog.digest import digest_of, sha256
from tests.support.reports import make_effect, make_report


def with_effects(*changes: dict[str, Any], **others: Any) -> Report:
    return make_report(effects=tuple(make_effect(**change) for change in changes), **others)


def compared(a: Report, b: Report) -> Comparison:
    first, second = (Judged(report=r, id=sha256(n)) for r, n in ((a, b"a"), (b, b"b")))
    return compare(first, second)


def only(found: Comparison) -> ComparedRow:
    (row,) = found.rows
    return row


def asking(query: dict[str, Any], **others: Any) -> Report:
    asked = {"schema": "stageaudit.audit.v1", "queries": [query], **others}
    return make_report(asked=asked, request=digest_of(asked))


def test_equal_reports_differ_in_nothing() -> None:
    found = compared(make_report(), make_report())

    assert found.comparable
    assert found.settings == ()
    assert (only(found).difference, only(found).overlap) == (0.0, True)
    assert not only(found).verdict_changed


def test_difference_is_b_minus_a_with_both_errors() -> None:
    # Half widths 3 and 4 are independent: 5.
    a = with_effects({"value": 10.0, "low": 7.0, "high": 13.0})
    b = with_effects({"value": 12.0, "low": 8.0, "high": 16.0})

    row = only(compared(a, b))

    assert (row.difference, row.low, row.high, row.overlap) == (2.0, -3.0, 7.0, True)


@pytest.mark.parametrize(("low", "overlap"), [(13.0, True), (13.1, False)])
def test_intervals_overlap_where_they_share_a_point(low: float, overlap: bool) -> None:
    a = with_effects({"value": 10.0, "low": 7.0, "high": 13.0})
    b = with_effects({"value": 15.0, "low": low, "high": 17.0})

    assert only(compared(a, b)).overlap is overlap


def test_changed_verdict_is_marked() -> None:
    found = compared(make_report(), with_effects({"verdict": Verdict.NOT_RESOLVED}))

    assert only(found).verdict_changed
    assert "effect → not resolved" in comparison_markdown(found)


@pytest.mark.parametrize(
    ("change", "flag"),
    [({"unit": "logit"}, "other unit"), ({"better": Better.HIGHER}, "other direction is better")],
)
def test_other_unit_or_direction_has_no_difference(change: dict[str, Any], flag: str) -> None:
    found = compared(make_report(), with_effects(change))

    assert (only(found).flags, only(found).difference) == ((flag,), None)
    assert not found.comparable


@pytest.mark.parametrize("change", [{"data": (sha256(b"two"),)}, {"n": 99}])
def test_other_evaluation_data_of_a_query_are_marked(change: dict[str, Any]) -> None:
    value = {"query": "cue", "unit": "probability", "better": "lower", "value": 0.5, "n": 100}
    own = QueryValue(**value, data=(sha256(b"one"),))
    other = own.model_copy(update=change)

    found = compared(make_report(queries=(own,)), make_report(queries=(other,)))

    assert compared(make_report(queries=(own,)), make_report(queries=(own,))).comparable
    assert only(found).flags == ("other evaluation data",)
    assert found.values[0].flags == ("other evaluation data",)
    assert not found.comparable


def test_other_question_of_the_same_name_is_marked() -> None:
    query = {"name": "cue", "kind": "logit", "better": "lower", "data": sha256(b"one")}

    found = compared(asking({**query, "class": 1}), asking({**query, "class": 3}))

    assert only(found).flags == ("other class",)


def test_reports_without_their_requests_may_have_other_data() -> None:
    data = (EvaluationData(digest=sha256(b"new"), name="held out", examples=100),)

    found = compared(make_report(), make_report(evaluation_data=data))

    assert only(found).flags == ("evaluation data may differ",)
    assert [setting.what for setting in found.settings] == ["evaluation data"]


def test_settings_stand_first_and_name_both_sides() -> None:
    query = {"name": "cue", "data": sha256(b"one")}

    found = compared(asking(query, seed=0), asking(query, seed=1))

    (setting,) = found.settings
    assert (setting.what, setting.a, setting.b) == ("seed", "0", "1")
    assert comparison_markdown(found).index("seed") < comparison_markdown(found).index("cue")


def test_rows_of_one_report_only_are_kept_apart() -> None:
    old = {"stage": "clean", "intervention": "skip clean"}
    new = {"stage": "tune", "intervention": "skip tune"}

    found = compared(with_effects({}, old), with_effects({}, new))

    sides = {row.intervention: (row.a is not None, row.b is not None) for row in found.rows}
    assert sides == {
        "skip vendor": (True, True),
        "skip tune": (False, True),
        "skip clean": (True, False),
    }
    assert found.comparable


def test_another_reference_on_the_same_stage_is_matched_and_marked() -> None:
    a = with_effects({"kind": "replace", "intervention": "replace vendor by=aaa"})
    b = with_effects({"kind": "replace", "intervention": "replace vendor by=bbb"})

    assert only(compared(a, b)).flags == ("in A: replace vendor by=aaa",)


def test_two_candidates_are_not_guessed_between() -> None:
    names = ("by=aaa", "by=bbb", "by=ccc")
    rows = [{"kind": "replace", "intervention": f"replace vendor {name}"} for name in names]

    found = compared(with_effects(rows[0]), with_effects(*rows[1:]))

    assert found.matched == ()
    assert not found.comparable


def test_value_at_the_models_is_compared() -> None:
    later = QueryValue(query="cue", unit="probability", better="lower", value=0.75, n=100)

    found = compared(make_report(), make_report(queries=(later,)))

    assert (found.values[0].a, found.values[0].b, found.values[0].difference) == (0.5, 0.75, 0.25)


def test_names_are_no_markup() -> None:
    found = compared(make_report(), with_effects({"intervention": "skip <b>|x"}))

    assert "skip \\<b\\>\\|x" in comparison_markdown(found)


def test_intervals_at_two_levels_are_not_put_together() -> None:
    row = only(compared(make_report(), with_effects({"value": 0.5, "confidence": 0.99})))

    assert "other confidence" in row.flags
    assert (row.difference, row.low, row.high, row.overlap) == (0.25, None, None, None)


def test_a_verdict_on_what_was_not_computed_is_none_that_changed() -> None:
    absent = {"value": None, "low": None, "high": None, "verdict": Verdict.NOT_RESOLVED}

    assert not only(compared(make_report(), with_effects(absent))).verdict_changed
