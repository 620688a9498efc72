"""Rules about what a report rests on."""

from typing import Any

import pytest

from auditor.effects import Better, Verdict
from auditor.estimators.auto import AutoSettings
from auditor.plan.actions import SegmentFinding
from auditor.policy.judge import judge
from auditor.policy.result import Outcome
from auditor.report.schema import Choice, EstimatorIdentity, ModelIdentity, RunFacts
from auditor.stagelog.digest import digest_of, sha256
from tests.support.reports import MODEL_BYTES, make_effect, make_report
from tests.unit.policy.test_bounds import NOW, gate, judged, make_policy, only, with_effect

VERDICT = {"check": "verdict", "query": "cue", "allowed": ("within replay spread",)}


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.WITHIN_REPLAY_SPREAD, Outcome.PASS),
        (Verdict.EFFECT, Outcome.FAIL),
        (Verdict.NOT_RESOLVED, Outcome.INVESTIGATE),
    ],
)
def test_verdicts_that_are_not_allowed_fail_and_unresolved_ones_are_open(
    verdict: Verdict, outcome: Outcome
) -> None:
    assert gate(VERDICT, with_effect(verdict=verdict)).outcome is outcome


@pytest.mark.parametrize(
    ("value", "better", "outcome"),
    [
        (0.25, Better.LOWER, Outcome.FAIL),
        (-0.25, Better.LOWER, Outcome.PASS),
        (-0.25, Better.HIGHER, Outcome.FAIL),
    ],
)
def test_only_harm_is_judged_where_asked(value: float, better: Better, outcome: Outcome) -> None:
    report = with_effect(value=value, low=value - 0.1, high=value + 0.1, better=better)

    assert gate({**VERDICT, "direction": "harmful"}, report).outcome is outcome


def test_intervals_that_are_too_wide_are_investigated() -> None:
    rule = {"check": "precision", "query": "cue", "half_width_at_most": 0.125}

    assert gate(rule, make_report()).outcome is Outcome.PASS
    assert gate({**rule, "half_width_at_most": 0.1}, make_report()).outcome is Outcome.INVESTIGATE
    bare = with_effect(low=None, high=None, confidence=None)
    assert gate(rule, bare).outcome is Outcome.INVESTIGATE


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (("consistent", "consistent"), Outcome.PASS),
        (("consistent", "not resolvable"), Outcome.INVESTIGATE),
        (("consistent", "inconsistent"), Outcome.FAIL),
        ((), Outcome.INVESTIGATE),
    ],
)
def test_an_inconsistent_log_fails_and_an_unreplayed_one_is_open(
    verdicts: tuple[Any, ...], outcome: Outcome
) -> None:
    report = make_report()
    findings = tuple(
        SegmentFinding(
            stage=i, checkpoints=1, deviation=0.0, tolerance=1e-6, amplification=1.0,
            verdict=verdict, worst="weight",
        )
        for i, verdict in enumerate(verdicts)
    )  # fmt: skip
    log = report.log.model_copy(update={"consistency": findings})

    found = gate({"check": "consistency"}, report.model_copy(update={"log": log}))

    assert found.outcome is outcome


@pytest.mark.parametrize(
    ("bound", "source", "outcome"),
    [
        (True, "artifact", Outcome.PASS),
        (False, "artifact", Outcome.FAIL),
        (False, "final checkpoint", Outcome.INVESTIGATE),
    ],
)
def test_the_model_must_be_bound_to_the_log(bound: bool, source: Any, outcome: Outcome) -> None:
    model = ModelIdentity(digest=sha256(MODEL_BYTES), bound=bound, source=source)

    assert gate({"check": "bound_model"}, make_report(model=model)).outcome is outcome


@pytest.mark.parametrize(
    ("created", "days", "outcome"),
    [
        ("2026-03-01T12:00:00+00:00", 1.0, Outcome.PASS),  # NOW is a day later
        ("2026-03-01T12:00:00+00:00", 0.9, Outcome.FAIL),
        ("2026-03-03T12:00:00+00:00", 5.0, Outcome.INVESTIGATE),
    ],
)
def test_an_old_report_fails_and_one_from_the_future_is_open(
    created: str, days: float, outcome: Outcome
) -> None:
    report = make_report(run=RunFacts(created=created, id="run-1", mode="local"))

    assert gate({"check": "age", "at_most_days": days}, report).outcome is outcome
    assert gate({"check": "age", "at_most_days": 1}, make_report(run=None)).outcome is (
        Outcome.INVESTIGATE
    )


def test_only_allowed_estimators_within_their_tolerance_pass() -> None:
    rule = {"check": "estimator", "allowed": ("auto",), "tolerance": "met"}

    def report(*, within: bool) -> Any:
        choice = Choice(
            intervention="skip vendor",
            answered_by="retrain",
            within_tolerance=within,
            tolerance=0.1,
        )
        return make_report(
            estimator=EstimatorIdentity(
                id="auto", settings=AutoSettings(), resolved_from="auto", choices=(choice,)
            )
        )

    assert gate(rule, report(within=True)).outcome is Outcome.PASS
    assert gate(rule, report(within=False)).outcome is Outcome.INVESTIGATE
    assert gate({**rule, "tolerance": "any"}, report(within=False)).outcome is Outcome.PASS
    assert gate(rule, make_report()).outcome is Outcome.FAIL  # by retrain


def test_the_policy_must_be_the_one_that_was_asked_under() -> None:
    policy = make_policy({"check": "registered"})

    def outcome(digest: str | None) -> Outcome:
        report = make_report(policy_digest=digest)
        return only(judge(policy, judged(report), baseline=None, now=NOW)).outcome

    assert outcome(digest_of(policy)) is Outcome.PASS
    assert outcome(None) is Outcome.INVESTIGATE
    assert outcome(sha256(b"another bar")) is Outcome.FAIL


def test_verdict_rule_selects_stages() -> None:
    report = make_report(
        effects=(
            make_effect(),
            make_effect(
                stage="tune", intervention="skip tune", verdict=Verdict.WITHIN_REPLAY_SPREAD
            ),
        )
    )

    assert gate({**VERDICT, "stages": ("tune",)}, report).outcome is Outcome.PASS
