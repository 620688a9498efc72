"""What actions cost in gradient-examples, from the log alone."""

from collections.abc import Iterable, Iterator
from math import prod

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

EXACT_OUTPUTS = 32
"""Up to so many output entries each is a direction of its own; as in auditor.curvature.sample."""


def gradient_examples(specs: Iterable[ActionSpec], log: StageLog) -> int:
    """Return how many example gradients the actions evaluate, an action counted once.

    Batches are taken at the stage's largest size; evaluation sets are not counted. An EK-FAC is
    counted once for all actions that use it.
    """
    actions = list(specs)
    used = {stage_and_curvature for spec in actions for stage_and_curvature in _ekfacs(spec, log)}
    return sum(_of_ekfac(log, *of_stage) for of_stage in used) + sum(
        _of(spec, log) for spec in actions
    )


def _of_ekfac(log: StageLog, stage: int, curvature: SampledCurvature) -> int:
    own = log.stages[stage]
    _, *shape = log.graphs[own.graph].outputs[own.bindings.output].shape
    entries = prod(size for size in shape if isinstance(size, int))
    known = all(isinstance(size, int) for size in shape)
    directions = entries if known and entries <= EXACT_OUTPUTS else 1
    used = min(curvature.examples, _examples(log.stages[stage : stage + 1]))
    return EKFAC_GRADIENTS * directions * used


def _ekfacs(spec: ActionSpec, log: StageLog) -> Iterator[tuple[int, SampledCurvature]]:
    """Yield the stages whose EK-FAC an action uses."""
    match spec:
        case (
            CoarseAdvance(curvature=SampledCurvature() as curvature)
            | JumpStage(curvature=SampledCurvature() as curvature)
            | FlowStage(curvature=curvature)
        ):
            yield spec.stage, curvature
        case Embedding(curvature=SampledCurvature() as curvature):
            first = stage_index(log, spec.intervention.stage)
            yield from ((stage, curvature) for stage in range(first, len(log.stages)))
        case Sweep(curvature=SampledCurvature() as curvature):
            yield from ((stage, curvature) for stage in range(len(log.stages)))
        case _:
            return


def _of(spec: ActionSpec, log: StageLog) -> int:
    match spec:
        case Advance() if not is_whole_skip(spec.intervention):
            stage = log.stages[spec.stage]
            return stage.steps * max(1, round(spec.fraction * _batch(stage)))
        case CoarseAdvance():
            return max(1, round(spec.fraction * _examples(log.stages[spec.stage : spec.stage + 1])))
        case SettleStage():
            stage = log.stages[spec.stage]
            steps = max(1, round(spec.tail * stage.steps))
            return steps * max(1, round(spec.fraction * _batch(stage)))
        case JumpStage():
            stage = log.stages[spec.stage]
            products = TANGENT_GRADIENTS if spec.curvature in {"exact", "ggn"} else 1
            return products * stage.steps * max(1, round(spec.fraction * _batch(stage)))
        case CheckSegment():
            whole = 2 * _examples(log.stages[spec.stage : spec.stage + 1])
            return max(1, round((spec.sample or 1.0) * whole))
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
