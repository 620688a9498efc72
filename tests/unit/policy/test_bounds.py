"""Bounds on effects and values: three outcomes, with and without a baseline."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import BaselineError, PolicyError
from auditor.policy.judge import Judged, judge
from auditor.policy.result import Finding, GateResult, Outcome
from auditor.policy.schema import Policy
from auditor.report.schema import LogIdentity, QueryValue, Report
from auditor.stagelog.digest import sha256
from tests.support.reports import LOG_BYTES, make_effect, make_report

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DUTY = {"owner": "ml-platform", "days": 7}


def make_policy(*rules: dict[str, Any]) -> Policy:
    named = tuple({"name": f"rule {i}", **rule} for i, rule in enumerate(rules))
    text = {"schema": "stageaudit.policy.v1", "name": "release", "duty": DUTY, "rules": named}
    return Policy.model_validate(text, strict=False)


def judged(report: Report, name: bytes = b"report") -> Judged:
    return Judged(report=report, id=sha256(name))


def gate(rule: dict[str, Any], report: Report, baseline: Report | None = None) -> GateResult:
    compared = None if baseline is None else judged(baseline, b"baseline")
    return judge(make_policy(rule), judged(report), baseline=compared, now=NOW)


def only(result: GateResult) -> Finding:
    (finding,) = result.findings
    return finding


def with_effect(**changes: Any) -> Report:
    return make_report(effects=(make_effect(**changes),))


EFFECT = {"check": "effect", "query": "cue"}


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [(0.4, "pass"), (0.375, "pass"), (0.3, "investigate"), (0.125, "investigate"), (0.1, "fail")],
)
def test_upper_bound_is_judged_by_the_whole_interval(bound: float, outcome: str) -> None:
    result = gate({**EFFECT, "at_most": bound}, make_report())  # 0.25, 0.125 to 0.375

    assert result.outcome == outcome


@pytest.mark.parametrize(
    ("bound", "outcome"), [(0.1, "pass"), (0.125, "pass"), (0.2, "investigate"), (0.4, "fail")]
)
def test_lower_bound_is_judged_by_the_whole_interval(bound: float, outcome: str) -> None:
    assert gate({**EFFECT, "at_least": bound}, make_report()).outcome == outcome


@given(
    value=st.floats(-10, 10), below=st.floats(0, 5), above=st.floats(0, 5), bound=st.floats(-20, 20)
)
def test_an_upper_bound_is_a_lower_bound_of_the_negative(
    value: float, below: float, above: float, bound: float
) -> None:
    up = with_effect(value=value, low=value - below, high=value + above)
    down = with_effect(value=-value, low=-value - above, high=-value + below)

    one = gate({**EFFECT, "at_most": bound}, up).outcome
    other = gate({**EFFECT, "at_least": -bound}, down).outcome

    assert one is other


def test_judging_the_value_ignores_the_interval() -> None:
    result = gate({**EFFECT, "at_most": 0.3, "judge": "value"}, make_report())

    assert result.outcome == "pass"


def test_the_population_is_judged_by_its_own_interval() -> None:
    report = with_effect(population_low=0.0, population_high=0.5)

    assert gate({**EFFECT, "at_most": 0.4}, report).outcome == "pass"
    assert gate({**EFFECT, "at_most": 0.4, "judge": "population"}, report).outcome == "investigate"


def test_a_figure_without_an_interval_is_investigated_unless_it_is_exact() -> None:
    bare = with_effect(low=None, high=None, confidence=None)
    exact = with_effect(low=None, high=None, confidence=None, exact_by_construction=True)

    assert gate({**EFFECT, "at_most": 1.0}, bare).outcome == "investigate"
    assert gate({**EFFECT, "at_most": 1.0}, exact).outcome == "pass"


def test_a_figure_that_was_not_computed_is_investigated() -> None:
    report = with_effect(value=None, low=None, high=None, confidence=None)

    finding = only(gate({**EFFECT, "at_most": 1.0}, report))

    assert finding.outcome == "investigate"
    assert "not computed" in finding.message


def test_findings_name_stage_figures_owner_and_due_date() -> None:
    finding = only(gate({**EFFECT, "at_most": 0.3}, make_report()))

    assert (finding.stage, finding.metric, finding.comparator) == ("vendor", "cue", "<=")
    assert (finding.threshold, finding.value, finding.sample_size) == (0.3, 0.25, 100)
    assert (finding.owner, finding.due) == ("ml-platform", "2026-03-09T12:00:00Z")


def test_a_rule_may_have_its_own_duty() -> None:
    rule = {**EFFECT, "at_most": 0.3, "duty": {"owner": "fairness board", "days": 1}}

    assert only(gate(rule, make_report())).owner == "fairness board"


def test_both_bounds_are_two_findings_and_the_worst_counts() -> None:
    result = gate({**EFFECT, "at_most": 1.0, "at_least": 0.5}, make_report())

    assert [finding.outcome for finding in result.findings] == [Outcome.PASS, Outcome.FAIL]
    assert result.outcome is Outcome.FAIL


def test_effects_are_selected_by_kind_label_and_stage() -> None:
    effects = (
        make_effect(),
        make_effect(kind="replace", intervention="replace vendor", value=0.0, low=0.0, high=0.0),
        make_effect(stage="tune", intervention="skip tune", value=0.0, low=0.0, high=0.0),
    )
    report = make_report(effects=effects)

    def selected(**rule: Any) -> list[str | None]:
        result = gate({**EFFECT, "at_most": 1.0, **rule}, report)
        return [finding.intervention for finding in result.findings]

    assert selected(kinds=("replace",)) == ["replace vendor"]
    assert selected(stages=("tune",)) == ["skip tune"]
    assert selected(interventions=("skip vendor",)) == ["skip vendor"]
    assert len(selected()) == 3


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"query": "loss"}, r"rule 'rule 0'.query: expected one of cue, found loss"),
        ({"stages": ("pretrain",)}, r"stages: expected one of clean, vendor, tune"),
        ({"interventions": ("skip all",)}, r"interventions: expected one of skip vendor"),
        ({"kinds": ("drop",)}, r"at least one effect"),
    ],
)
def test_a_rule_about_what_the_report_does_not_have_is_refused(
    rule: dict[str, Any], message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        gate({**EFFECT, "at_most": 1.0, **rule}, make_report())


AGAINST = {**EFFECT, "against": "baseline", "at_most": 0.05}


def test_a_change_is_judged_with_the_errors_of_both_reports() -> None:
    now = with_effect(value=0.30, low=0.27, high=0.33)
    before = with_effect(value=0.26, low=0.22, high=0.30)

    finding = only(gate(AGAINST, now, before))

    assert finding.value == pytest.approx(0.04)
    assert finding.low == pytest.approx(0.04 - 0.05)  # 3-4-5
    assert finding.high == pytest.approx(0.04 + 0.05)
    assert finding.outcome is Outcome.INVESTIGATE


def test_an_unchanged_exact_effect_passes_against_the_baseline() -> None:
    report = with_effect(low=0.25, high=0.25)

    assert gate(AGAINST, report, report).outcome is Outcome.PASS


def test_a_stage_that_the_baseline_does_not_have_counts_whole() -> None:
    old = LogIdentity(
        digest=sha256(LOG_BYTES), name="run", level=1, stages=("clean", "tune"),
        consistency_statement="replayed",
    )  # fmt: skip
    before = make_report(log=old, effects=(make_effect(stage="tune", intervention="skip tune"),))

    finding = only(gate(AGAINST, make_report(), before))

    assert finding.outcome is Outcome.FAIL
    assert "of a stage that the baseline does not have" in finding.message
    assert finding.stage == "vendor"


def test_a_baseline_without_the_row_is_refused() -> None:
    other = with_effect(query="loss")

    with pytest.raises(BaselineError, match="skip vendor on cue"):
        gate(AGAINST, make_report(), other)
    with pytest.raises(BaselineError, match="a report, to compare with"):
        gate(AGAINST, make_report())


def test_a_baseline_in_another_unit_is_refused() -> None:
    with pytest.raises(BaselineError, match="in probability"):
        gate(AGAINST, make_report(), with_effect(unit="logit"))


VALUE = {"check": "value", "query": "cue"}


def test_a_value_is_bounded_itself_or_by_its_change() -> None:
    lower = QueryValue(query="cue", unit="probability", better="lower", value=0.46, n=100)
    before = make_report(queries=(lower,))

    assert gate({**VALUE, "at_most": 0.5}, make_report()).outcome is Outcome.PASS
    assert gate({**VALUE, "at_most": 0.4}, make_report()).outcome is Outcome.FAIL
    change = {**VALUE, "at_most": 0.05, "against": "baseline"}
    assert gate(change, make_report(), before).outcome is Outcome.PASS
    assert only(gate(change, make_report(), before)).value == pytest.approx(0.04)


def test_a_value_that_the_baseline_lacks_is_refused() -> None:
    with pytest.raises(BaselineError):
        gate({**VALUE, "at_most": 0.5, "against": "baseline"}, make_report())
    with pytest.raises(PolicyError):
        gate({**VALUE, "query": "other", "at_most": 0.5}, make_report())


@pytest.mark.parametrize(
    "rule",
    [EFFECT, {**EFFECT, "at_most": 0.1, "at_least": 0.2}, {**EFFECT, "at_most": float("nan")}],
)
def test_bounds_that_say_nothing_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at_|finite"):
        make_policy(rule)


@pytest.mark.parametrize("rule", [AGAINST, {**VALUE, "against": "baseline", "at_most": 0.05}])
def test_a_baseline_on_other_examples_is_refused(rule: dict[str, Any]) -> None:
    asked = make_report().queries[0]

    def on(data: bytes, n: int = 100) -> Report:
        query = asked.model_copy(update={"data": (sha256(data),), "n": n})
        return with_effect(low=0.25, high=0.25).model_copy(update={"queries": (query,)})

    assert gate(rule, on(b"held out"), on(b"held out")).outcome is Outcome.PASS
    with pytest.raises(BaselineError, match="100 examples of"):
        gate(rule, on(b"held out"), on(b"an easier set"))
    with pytest.raises(BaselineError, match="50 examples"):
        gate(rule, on(b"held out"), on(b"held out", n=50))


def test_a_query_without_a_value_is_no_pass() -> None:
    with pytest.raises(PolicyError, match="query"):
        gate({**VALUE, "at_most": 0.5}, make_report(queries=()))


def test_a_baseline_at_another_confidence_is_refused() -> None:
    wider = with_effect(confidence=0.99)

    with pytest.raises(BaselineError, match=r"confidence 0\.9"):
        gate(AGAINST, make_report(), wider)
    exact = with_effect(low=0.25, high=0.25, confidence=0.99, exact_by_construction=True)
    assert gate(AGAINST, exact, exact).outcome is Outcome.PASS
