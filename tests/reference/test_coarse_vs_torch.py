"""Whole audits by ``coarse_replay``: retraining with blocks of one step, intervals, refusals."""

import pytest

from auditor.errors import UnsupportedError
from auditor.estimators.checkpoint_jump import CheckpointJumpSettings
from auditor.estimators.coarse_replay import COARSE_REPLAY, CoarseReplaySettings
from auditor.estimators.retrain import RetrainSettings
from auditor.estimators.settle import SettleSettings
from auditor.plan.request import Change, Intervention, Joint, Reference
from auditor.plan.settings import EstimatorSettings
from tests.reference.test_audit_vs_torch import STAGES, STEPS, audit, held_out_loss, train
from tests.support.builders import OptimizerName, make_stage_log

SKIPS = tuple(Intervention(kind="skip", stage=f"stage{stage}") for stage in range(STAGES))
EXACT = CoarseReplaySettings(block_steps=1, fraction=1.0, replicas=1)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw"])
def test_blocks_of_one_step_equal_training_again_in_torch(optimizer: OptimizerName) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)

    report = audit(recorded, *SKIPS, estimator=EXACT)

    factual = held_out_loss(train(recorded, optimizer))
    truth = [
        factual - held_out_loss(train(recorded, optimizer, skipped=stage))
        for stage in range(STAGES)
    ]
    assert [effect.value for effect in report.effects] == pytest.approx(truth, rel=1e-8)
    assert all(effect.exact_by_construction for effect in report.effects)


@pytest.mark.parametrize("curvature", ["none", "ekfac"])
def test_coarse_replay_is_exact_for_the_last_stage_and_gives_intervals(curvature: str) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum")
    settings = CoarseReplaySettings(block_steps=3, fraction=0.5, curvature=curvature)

    first, *_, last = audit(recorded, *SKIPS, estimator=settings).effects

    truth = audit(recorded, *SKIPS, estimator=RetrainSettings()).effects
    assert last.value == truth[-1].value
    assert last.exact_by_construction
    assert first.value != truth[0].value
    assert first.low < first.value < first.high
    assert first.self_check.deviation != 0.0


def test_coarse_replay_answers_joint_and_other_interventions() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="adamw")
    replace = Intervention(kind="replace", stage="stage2", reference=Reference(dataset="data0"))
    asked = (Joint(parts=SKIPS[:2]), Joint(parts=(SKIPS[0], replace)), replace)

    found = audit(recorded, *asked, estimator=EXACT).effects

    truth = audit(recorded, *asked, estimator=RetrainSettings()).effects
    assert [effect.value for effect in found] == pytest.approx([e.value for e in truth], rel=1e-8)


def test_batch_statistics_are_refused_in_blocks() -> None:
    log = make_stage_log(stages=2, steps=2).log
    (name,) = {stage.graph for stage in log.stages}
    graph = log.graphs[name].model_copy(update={"batch_norm": "batch"})
    normalised = log.model_copy(update={"graphs": {name: graph}})

    assert COARSE_REPLAY.check is not None
    COARSE_REPLAY.check(EXACT, normalised)
    with pytest.raises(UnsupportedError, match=r"estimator\.block_steps.*whole batches"):
        COARSE_REPLAY.check(CoarseReplaySettings(), normalised)


@pytest.mark.parametrize(
    "settings",
    [
        CoarseReplaySettings(block_steps=3, fraction=0.5, curvature="none"),
        SettleSettings(fraction=0.5),
        CheckpointJumpSettings(),
    ],
    ids=lambda settings: settings.id,
)
def test_divergence_is_reported_with_its_stage_and_leaves_the_other_rows(
    settings: EstimatorSettings,
) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="sgd")
    wild = Intervention(kind="change", stage="stage1", hyperparameters={"lr": Change(value=1e300)})

    report = audit(recorded, wild, SKIPS[1], estimator=settings)

    diverged, skipped = report.effects
    (diagnosis,) = [found for found in report.diagnoses if found.id == "DIVERGES"]
    assert diverged.value is None
    assert skipped.value is not None
    assert diagnosis.intervention == wild.label
    assert "stages[stage1].steps[" in diagnosis.text
