"""What people read of a report."""

import io

import pytest
from rich.console import Console

from auditor.effects import Better, SelfCheck, Verdict
from auditor.estimators.auto import AutoSettings
from auditor.report.schema import Choice, Disagreement, EstimatorIdentity, NotComputed
from service.cli.report_table import interval, label, print_report, verdict
from tests.support.reports import make_effect, make_report


def shown(**changes: object) -> str:
    text = io.StringIO()
    print_report(make_report(**changes), console=Console(file=text, width=160))
    return text.getvalue()


@pytest.mark.parametrize(
    ("value", "better", "said"),
    [
        (0.25, Better.LOWER, "effect: worse"),
        (-0.25, Better.LOWER, "effect: better"),
        (0.25, Better.HIGHER, "effect: better"),
        (-0.25, Better.HIGHER, "effect: worse"),
    ],
)
def test_verdict_never_shows_a_harm_as_a_gain(value: float, better: Better, said: str) -> None:
    assert verdict(make_effect(value=value, better=better)) == said


def test_verdict_without_an_effect_is_the_reports_own_word() -> None:
    assert verdict(make_effect(verdict=Verdict.WITHIN_REPLAY_SPREAD)) == "within replay spread"


def test_interval_that_was_not_computed_is_a_dash() -> None:
    assert interval(make_effect(low=None, high=None)) == "–"


def test_interval_of_an_exact_row_says_so() -> None:
    assert interval(make_effect(exact_by_construction=True)) == "exact"


def test_report_shows_effect_interval_spread_self_check_and_baselines() -> None:
    effect = make_effect(
        spread=0.0313,
        self_check=SelfCheck(kind="factual_replay", deviation=0.0077),
        baselines={"task_vector": -0.1234},
    )

    text = shown(effects=(effect,))

    for part in ("+0.2500", "+0.1250 to +0.3750", "0.0313", "+0.0077", "-0.1234"):
        assert part in text


def test_report_shows_limitations_disagreements_and_what_was_not_computed() -> None:
    text = shown(
        disagreements=(Disagreement(query="cue", stage="vendor", text="skip says [1], why"),),
        not_computed=(NotComputed(what="sd_order", why="not requested"),),
    )

    for part in (
        "This is a statement about computation.",
        "skip says [1], why",
        "sd_order: not requested",
        "The 3 replayed segments reproduce the recorded checkpoints.",
    ):
        assert part in text


def test_report_shows_what_auto_chose() -> None:
    choices = tuple(
        Choice(intervention=name, answered_by=by, within_tolerance=within, tolerance=0.02)
        for name, by, within in (("skip a", "retrain", True), ("skip b", "[1/4]", False))
    )
    identity = EstimatorIdentity(
        id="auto", settings=AutoSettings(tolerance=0.02), resolved_from="default", choices=choices
    )

    lines = [" ".join(line.split()) for line in shown(estimator=identity).splitlines()]

    assert "intervention answered by within tolerance 0.02" in lines
    assert "skip a retrain yes" in lines
    assert "skip b [1/4] no" in lines


def test_report_of_another_estimator_shows_no_choices() -> None:
    assert "Chosen by auto" not in shown()


def test_report_says_whether_the_model_is_bound() -> None:
    assert "artifact, bound to the log" in shown()


def test_label_names_the_reference() -> None:
    effect = make_effect(intervention="replace vendor by=0123456789ab")

    assert label(effect, {"0123456789ab": "clean"}) == "replace vendor by clean"
    assert label(effect, {}) == "replace vendor by=0123456789ab"
