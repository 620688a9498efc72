"""What actions cost in gradient-examples, from the log alone."""

from collections.abc import Iterable

from auditor.plan.actions import (
    ActionSpec,
    Advance,
    CheckSegment,
    CoarseAdvance,
    Embedding,
    FlowStage,
    JumpStage,
    SettleStage,
    Sweep,
)
from auditor.plan.chains import is_whole_skip, stage_index
from auditor.plan.curvature import SampledCurvature
from auditor.stagelog.log import Stage, StageLog

TANGENT_GRADIENTS = 3
"""Gradients per step of a forward sweep: the step's own, and a Hessian-vector product of two."""

ADJOINT_GRADIENTS = 3
"""Gradients per step of a backward sweep: recomputation, the step's own, and a product."""

EKFAC_GRADIENTS = 2
"""Gradients per example of an EK-FAC and direction of its output: factors, then eigenvalues."""


def gradient_examples(specs: Iterable[ActionSpec], log: StageLog) -> int:
    """Return how many example gradients the actions evaluate, an action counted once.

    Batches are taken at the stage's largest size; evaluation sets are not counted.
    """
    return sum(_of(spec, log) for spec in specs)


def _of(spec: ActionSpec, log: StageLog) -> int:
    match spec:
        case Advance() if not is_whole_skip(spec.intervention):
            stage = log.stages[spec.stage]
            return stage.steps * max(1, round(spec.fraction * _batch(stage)))
        case CoarseAdvance():
            recorded = _examples(log.stages[spec.stage : spec.stage + 1])
            sampled = spec.curvature if isinstance(spec.curvature, SampledCurvature) else None
            ekfac = EKFAC_GRADIENTS * min(sampled.examples, recorded) if sampled else 0
            return max(1, round(spec.fraction * recorded)) + ekfac
        case SettleStage():
            stage = log.stages[spec.stage]
            steps = max(1, round(spec.tail * stage.steps))
            return steps * max(1, round(spec.fraction * _batch(stage)))
        case JumpStage(curvature="none"):
            return _examples(log.stages[spec.stage : spec.stage + 1])
        case JumpStage(curvature=SampledCurvature(examples=examples)):
            recorded = _examples(log.stages[spec.stage : spec.stage + 1])
            return recorded + EKFAC_GRADIENTS * min(examples, recorded)
        case JumpStage():
            return TANGENT_GRADIENTS * _examples(log.stages[spec.stage : spec.stage + 1])
        case FlowStage(curvature=SampledCurvature(examples=examples)):
            recorded = _examples(log.stages[spec.stage : spec.stage + 1])
            return EKFAC_GRADIENTS * min(examples, recorded)
        case CheckSegment():
            return 2 * _examples(log.stages[spec.stage : spec.stage + 1])
        case Embedding():
            first = stage_index(log, spec.intervention.stage)
            return TANGENT_GRADIENTS * _examples(log.stages[first:])
        case Sweep():
            return ADJOINT_GRADIENTS * _examples(log.stages)
        case _:
            return 0


def _batch(stage: Stage) -> int:
    return stage.examples_per_step or 1


def _examples(stages: tuple[Stage, ...]) -> int:
    return sum(stage.steps * _batch(stage) for stage in stages)
