"""Whole audits by ``checkpoint_jump``: a linear model in eager torch, every curvature, refusals."""

import pytest
from pydantic import ValidationError

from auditor.errors import UnsupportedError
from auditor.estimators.checkpoint_jump import CheckpointJumpSettings
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import Intervention, Joint, StepWindow
from tests.reference.test_audit_vs_torch import STAGES, STEPS, audit
from tests.support.builders import OptimizerName, make_stage_log

CURVATURES = ["exact", "ggn", "ekfac", "none", "source"]


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
def test_small_displacements_jump_as_retraining_moves(optimizer: OptimizerName) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer=optimizer)
    fades = [Intervention(kind="fade", stage=f"stage{s}", alpha=0.999) for s in range(STAGES)]

    report = audit(recorded, *fades, estimator=CheckpointJumpSettings())

    truth = audit(recorded, *fades, estimator=RetrainSettings())
    found = [effect.value for effect in report.effects]
    assert found == pytest.approx([effect.value for effect in truth.effects], rel=2e-3)
    assert [effect.exact_by_construction for effect in report.effects] == [False, False, True]
    assert "low, high" in {absent.what[:9] for absent in report.not_computed}
    assert "LINEAR_IN_BETWEEN" in {limitation.id for limitation in report.limitations}


@pytest.mark.parametrize("curvature", CURVATURES)
def test_every_curvature_is_exact_for_the_last_stage_and_finite_before(curvature: str) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="momentum", transition="keep")
    skips = [Intervention(kind="skip", stage=f"stage{s}") for s in range(STAGES)]

    effects = audit(recorded, *skips, estimator=CheckpointJumpSettings(curvature=curvature)).effects

    truth = audit(recorded, *skips, estimator=RetrainSettings()).effects
    assert effects[-1].value == truth[-1].value
    assert effects[0].value != truth[0].value
    assert all(effect.low is None for effect in effects[:-1])


@pytest.mark.parametrize("curvature", CURVATURES)
def test_removing_nothing_has_no_effect(curvature: str) -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="nesterov")
    nothing = Intervention(kind="fade", stage="stage0", alpha=1.0)
    settings = CheckpointJumpSettings(curvature=curvature, fraction=0.5)

    (effect,) = audit(recorded, nothing, estimator=settings).effects

    assert effect.value == 0.0


def test_replicas_sample_the_steps_and_their_mean_is_near_the_whole() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="sgd", lr=0.02)
    skip = Intervention(kind="skip", stage="stage0")
    settings = CheckpointJumpSettings(step_fraction=0.5, replicas=4)

    (sampled,) = audit(recorded, skip, estimator=settings).effects

    (whole,) = audit(recorded, skip, estimator=CheckpointJumpSettings()).effects
    assert sampled.value != whole.value
    assert sampled.value == pytest.approx(whole.value, rel=0.1)
    assert not sampled.exact_by_construction


def test_windows_jump_from_the_end_of_their_stage() -> None:
    recorded = make_stage_log(stages=STAGES, steps=STEPS, optimizer="sgd")
    window = Intervention(kind="skip", stage="stage1", steps=StepWindow(first_step=8, end_step=9))

    (effect,) = audit(recorded, window, estimator=CheckpointJumpSettings()).effects

    (truth,) = audit(recorded, window, estimator=RetrainSettings()).effects
    assert effect.value == pytest.approx(truth.value, rel=0.05)


def test_what_it_cannot_answer_is_refused() -> None:
    adam = make_stage_log(stages=STAGES, steps=STEPS, optimizer="adam")
    skips = tuple(Intervention(kind="skip", stage=f"stage{s}") for s in range(STAGES))

    with pytest.raises(UnsupportedError, match="exact, ggn or ekfac"):
        audit(adam, skips[0], estimator=CheckpointJumpSettings(curvature="source"))
    with pytest.raises(UnsupportedError, match="subsampled_replay or retrain"):
        audit(adam, Joint(parts=skips[:2]), estimator=CheckpointJumpSettings())
    with pytest.raises(ValidationError):
        CheckpointJumpSettings(curvature="hessian")
