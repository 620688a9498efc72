"""Shapley values, timelines and joint effects: identities that must hold exactly."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.finer import windows_of
from auditor.audit.local import run_audit
from auditor.audit.planning import plan_round
from auditor.effects import Better, Query, QueryKind
from auditor.errors import InputError, ResourceError, UnsupportedError
from auditor.estimators.aa_score import AaScoreSettings
from auditor.estimators.base import Sample
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.shapley import coalitions, shapley_values
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.actions import Advance, key_of
from auditor.plan.chains import is_whole_skip
from auditor.plan.finer import AllocationRequest, TimelineRequest
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.stagelog.digest import canonical_bytes
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.memory_index import MemoryIndex

STAGES = 4
NAMES = [f"stage{index}" for index in range(STAGES)]
AFTER_FIRST = AllocationRequest(context=("stage0",))


@pytest.fixture(scope="module")
def recorded() -> RecordedRun:
    run = make_stage_log(stages=STAGES, steps=4, optimizer="momentum", transition="keep")
    run.blobs.write(canonical_bytes(run.log))
    return run


def make_request(recorded: RecordedRun, kind=QueryKind.LOSS, **fields) -> AuditRequest:
    query = Query(name="q", kind=kind, better=Better.LOWER, data=recorded.evaluation)
    values = {"interventions": "stages", "estimator": RetrainSettings(), "consistency": "skip"}
    return AuditRequest(log=recorded.digest, queries=(query,), **(values | fields))


def report_of(recorded: RecordedRun, **fields):
    request = make_request(recorded, **fields)
    return run_audit(request, blobs=recorded.blobs, index=MemoryIndex(), device="cpu")


def skip(*stages: int) -> Intervention | Joint:
    parts = tuple(Intervention(kind="skip", stage=NAMES[stage]) for stage in stages)
    return parts[0] if len(parts) == 1 else Joint(parts=parts)


@pytest.mark.parametrize(
    "estimator", [RetrainSettings(), SubsampledReplaySettings(fraction=0.5, replicas=3)]
)
def test_shapley_values_sum_to_the_effect_of_skipping_all_players(recorded, estimator):
    report = report_of(
        recorded, interventions=(skip(1, 2, 3),), allocation=AFTER_FIRST, estimator=estimator
    )

    found = report.allocations[0]
    assert [value.stage for value in found.values] == NAMES[1:]
    assert sum(value.value for value in found.values) == pytest.approx(
        report.effects[0].value, rel=1e-12
    )
    assert found.total == report.effects[0].value
    assert found.label == "allocation convention, not a causal finding"


def test_shapley_values_of_replays_have_intervals_and_exact_ones_no_width(recorded):
    replays = SubsampledReplaySettings(fraction=0.5, replicas=3)

    exact = report_of(recorded, allocation=AFTER_FIRST).allocations[0]
    sampled = report_of(recorded, allocation=AFTER_FIRST, estimator=replays).allocations[0]

    assert all(value.low == value.value == value.high for value in exact.values)
    assert all(value.low < value.value < value.high for value in sampled.values)


def test_shapley_values_are_averages_of_effects_over_orders(recorded):
    pair = report_of(
        recorded,
        interventions=(skip(1), skip(2), skip(1, 2)),
        allocation=AllocationRequest(context=("stage0",), players=("stage1", "stage2")),
    )
    one, two, both = (effect.value for effect in pair.effects)

    expected = {"stage1": (one + both - two) / 2, "stage2": (two + both - one) / 2}

    found = {value.stage: value.value for value in pair.allocations[0].values}
    assert found == pytest.approx(expected, rel=1e-12)


def test_all_subsets_share_their_prefixes(recorded):
    request = make_request(recorded, interventions=(skip(1),), allocation=AFTER_FIRST, baselines=())

    planned = plan_round(request, recorded.log, {}, blobs=recorded.blobs).actions

    executed = {
        key_of(spec)
        for spec in planned
        if isinstance(spec, Advance) and not is_whole_skip(spec.intervention)
    }
    players = STAGES - 1
    assert len(executed) == 2**players - 1 - players  # without recorded prefixes 2^n - 1


@given(st.lists(st.floats(-5, 5), min_size=7, max_size=7))
def test_efficiency_and_the_formula_of_permutations(numbers):
    players = ["a", "b", "c"]
    skipped = {
        c: Sample(effects=np.array([[x]]), exact=True)
        for c, x in zip(coalitions(players), numbers, strict=True)
    }

    found = shapley_values(players, skipped)

    total = sum(sample.effects.item() for sample in found.values())
    assert total == pytest.approx(skipped[frozenset(players)].effects.item(), abs=1e-12)
    by_order = [
        _marginal("a", order, skipped) for order in ("abc", "acb", "bac", "bca", "cab", "cba")
    ]
    mean = sum(by_order) / factorial(3)
    assert found["a"].effects.item() == pytest.approx(mean, abs=1e-12)


def _marginal(player: str, order: str, skipped) -> float:
    before = frozenset(order[: order.index(player)])
    value = skipped[before].effects.item() if before else 0.0
    return skipped[before | {player}].effects.item() - value


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_symmetric_players_have_equal_values_and_dummies_none(one, both):
    worth = {"": 0.0, "a": one, "b": one, "ab": both}
    skipped = {
        c: Sample(effects=np.array([[worth["".join(sorted(c - {"d"}))]]]))
        for c in coalitions(["a", "b", "d"])
    }

    found = shapley_values(["a", "b", "d"], skipped)

    assert found["a"].effects.item() == pytest.approx(found["b"].effects.item(), abs=1e-12)
    assert found["d"].effects.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("allocation", "error"),
    [
        (AllocationRequest(context=("stage1",)), InputError),
        (AllocationRequest(context=tuple(NAMES)), InputError),
        (AllocationRequest(context=("stage0",), players=("stage0",)), InputError),
        (AllocationRequest(context=("stage0",), players=("nope",)), InputError),
        (AllocationRequest(context=("stage0",), queries=("nope",)), InputError),
    ],
)
def test_allocations_that_do_not_fit_are_refused(recorded, allocation, error):
    with pytest.raises(error, match="allocation"):
        report_of(recorded, allocation=allocation)


def test_allocations_of_estimators_that_sum_single_figures_are_refused(recorded):
    with pytest.raises(UnsupportedError, match="allocation: expected an estimator of auto"):
        report_of(recorded, allocation=AFTER_FIRST, estimator=TaskVectorSettings())


def test_too_many_players_are_refused():
    run = make_stage_log(stages=10, steps=1)
    run.blobs.write(canonical_bytes(run.log))

    with pytest.raises(ResourceError, match="at most 8 stages"):
        report_of(run, allocation=AFTER_FIRST)


@pytest.mark.parametrize("windows", [STAGES, 7, 4 * STAGES])
def test_timeline_sums_to_the_adjoint_effect_of_every_stage(recorded, windows):
    report = report_of(
        recorded,
        estimator=AaScoreSettings(form="adjoint"),
        timelines=TimelineRequest(windows=windows),
    )

    timeline = report.timelines[0]
    effects = [effect.value for effect in report.effects]
    assert [stage.value for stage in timeline.stages] == effects
    assert len(timeline.windows) == windows
    for stage, effect in zip(NAMES, effects, strict=True):
        own = [window.value for window in timeline.windows if window.stage == stage]
        assert sum(own) == pytest.approx(effect, rel=1e-12, abs=1e-15)
    assert timeline.label == "effect per window, first order (AA-Score); not a replay"


def test_timeline_shows_the_recorded_learning_rates(recorded):
    timeline = report_of(recorded, timelines=TimelineRequest(windows=STAGES * 4)).timelines[0]

    rates = [window.learning_rate for window in timeline.windows]
    assert rates == pytest.approx([0.05 / (1 + step / 4) for _ in NAMES for step in range(4)])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.data())
def test_windows_cover_every_step_once_and_never_cross_stages(steps, data):
    count = data.draw(st.integers(len(steps), sum(steps)))

    windows = windows_of(steps, count=count)

    assert len(windows) == count
    covered = [(stage, step) for stage, first, end in windows for step in range(first, end)]
    assert covered == [(stage, step) for stage, n in enumerate(steps) for step in range(n)]


@pytest.mark.parametrize("windows", [STAGES - 1, 4 * STAGES + 1])
def test_windows_that_do_not_fit_are_refused(recorded, windows):
    with pytest.raises(InputError, match=r"timelines\.windows"):
        report_of(recorded, timelines=TimelineRequest(windows=windows))


def test_timelines_need_a_gradient(recorded):
    with pytest.raises(UnsupportedError, match=r"timelines\.queries: .* found 'q', which is acc"):
        report_of(recorded, kind=QueryKind.ACCURACY, timelines=TimelineRequest(windows=STAGES))


def test_pairs_stand_beside_the_sum_of_their_parts(recorded):
    report = report_of(recorded, joint="pairs")

    value = {effect.intervention: effect.value for effect in report.effects}
    assert len(report.joints) == STAGES * (STAGES - 1) // 2
    first = report.joints[0]
    assert first.stages == ("stage0", "stage1")
    assert first.value == value["skip stage0 + skip stage1"]
    assert first.single_sum == value["skip stage0"] + value["skip stage1"]
    assert "sum of single effects" in first.text


def test_joint_of_several_parts_is_linear_for_aa_score(recorded):
    settings = AaScoreSettings(form="tangent")

    report = report_of(recorded, interventions=(skip(0), skip(2), skip(0, 2)), estimator=settings)

    one, other, both = (effect.value for effect in report.effects)
    assert both == pytest.approx(one + other, rel=1e-12)
