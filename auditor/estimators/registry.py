"""Settings -> estimator: one literal table."""

from typing import assert_never

from auditor.errors import InternalError
from auditor.estimators.aa_adjoint import AaAdjoint
from auditor.estimators.aa_tangent import AaTangent
from auditor.estimators.auto import Auto
from auditor.estimators.base import Estimator
from auditor.estimators.checkpoint_delta import CheckpointDelta
from auditor.estimators.checkpoint_jump import CheckpointJump
from auditor.estimators.coarse_replay import CoarseReplay
from auditor.estimators.retrain import Retrain
from auditor.estimators.settle import Settle
from auditor.estimators.subsampled_replay import SubsampledReplay
from auditor.estimators.task_vector import TaskVector
from auditor.plan.settings import (
    AaScoreSettings,
    AutoSettings,
    CheckpointDeltaSettings,
    CheckpointJumpSettings,
    CoarseReplaySettings,
    DefaultSettings,
    EstimatorSettings,
    RetrainSettings,
    SettleSettings,
    SubsampledReplaySettings,
    TaskVectorSettings,
)

BASELINES: dict[str, Estimator] = {
    "checkpoint_delta": CheckpointDelta(),
    "task_vector": TaskVector(),
}
"""The free baselines that stand beside every effect."""


def estimator_for(settings: EstimatorSettings) -> Estimator:
    """Return the estimator that resolved settings describe.

    Raises:
        InternalError: If the settings were not resolved first.
    """
    match settings:
        case RetrainSettings():
            return Retrain()
        case CheckpointDeltaSettings():
            return CheckpointDelta()
        case TaskVectorSettings():
            return TaskVector()
        case AaScoreSettings(form="tangent", curvature=curvature, curvature_examples=examples):
            return AaTangent(curvature=curvature, curvature_examples=examples)
        case AaScoreSettings(curvature=curvature, curvature_examples=examples):
            return AaAdjoint(curvature=curvature, curvature_examples=examples)
        case SubsampledReplaySettings():
            return SubsampledReplay(
                fraction=settings.fraction,
                replicas=settings.replicas,
                resolutions=settings.resolutions,
            )
        case AutoSettings():
            return Auto()
        case CheckpointJumpSettings():
            return CheckpointJump(
                curvature=settings.curvature,
                curvature_examples=settings.curvature_examples,
                fraction=settings.fraction,
                step_fraction=settings.step_fraction,
                replicas=settings.replicas,
            )
        case CoarseReplaySettings():
            return CoarseReplay(
                block_steps=settings.block_steps,
                fraction=settings.fraction,
                curvature=settings.curvature,
                curvature_examples=settings.curvature_examples,
                replicas=settings.replicas,
            )
        case SettleSettings(tail=tail, fraction=fraction, replicas=replicas):
            return Settle(tail=tail, fraction=fraction, replicas=replicas)
        case DefaultSettings():
            raise InternalError(
                "estimator",
                expected="settings resolved by auditor.plan.settings.resolve",
                found=settings.id,
                remedy="Report this as a bug.",
            )
        case _:
            assert_never(settings)
