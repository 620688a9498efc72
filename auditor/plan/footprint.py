r"""How much device memory an action needs, predicted from the log alone, before it runs.

.. math:: bytes = fixed + lanes \cdot (P \cdot itemsize \cdot copies + b \cdot example)

``copies`` is how many vectors of the size of the parameters a lane holds at its worst moment, b how
many examples it computes at once, and ``example`` the activations of one. All sizes are bytes. The
prediction is no part of any key; what devices measure corrects it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import assert_never, final

from auditor.errors import ResourceError
from auditor.plan.actions import (
    ActionSpec,
    Advance,
    BindModel,
    CheckSegment,
    CoarseAdvance,
    Displace,
    Embedding,
    Evaluate,
    ExportState,
    FlowStage,
    JumpStage,
    Project,
    SettleStage,
    Sweep,
    WriteReport,
)
from auditor.plan.chains import is_whole_skip, stage_index
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.rules_parameters import present_after

ITEM_BYTES: Mapping[str, int] = MappingProxyType({
    "float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1,
})  # fmt: skip
SLOTS: Mapping[str, int] = MappingProxyType({"sgd": 1, "adam": 2, "adamw": 2})
"""Vectors of an optimizer; sgd is taken to have momentum, which the schedule says, not the log."""

BLOCK_BYTES = 16 * 2**20
"""How many bytes of examples are gathered at once, for all lanes."""
EVALUATED_AT_ONCE = 512
"""How many examples are evaluated at once; values do not depend on it but by rounding."""
HELD_BYTES = 2 * 2**30
"""How much a sweep keeps of what the way back needs of steps, so that it is not computed again."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Predicted bytes of an action.

    Attributes:
        fixed: Once for a group: data, recorded states, examples gathered for the next steps.
        state: A lane's vectors of the size of the parameters.
        examples: A lane's activations of the examples that it computes at once.
    """

    fixed: int = 0
    state: int = 0
    examples: int = 0

    @property
    def lane(self) -> int:
        """Bytes that every lane adds."""
        return self.state + self.examples

    @property
    def alone(self) -> int:
        """Bytes of a group of this action alone."""
        return self.fixed + self.lane


NOTHING = Footprint()


def require_fits(needed: Footprint, *, kind: str, budget: int) -> None:
    """Refuse an action that no device can hold alone.

    Args:
        needed: What it should need.
        kind: Of the action.
        budget: Bytes of the largest device.

    Raises:
        ResourceError: With the predicted size, the budget, and what would fit.
    """
    if needed.alone <= budget:
        return
    left = budget - needed.fixed - needed.state
    part = left / needed.examples if needed.examples else 0.0
    remedy = f"Use a device with {shown_bytes(needed.alone)} free"
    if part > 0:
        remedy += f", or an estimator that uses at most {part:.2g} of these examples at once"
    raise ResourceError(
        f"device memory of {kind}",
        expected=f"at most {shown_bytes(budget)}",
        found=f"{shown_bytes(needed.alone)} predicted for one lane",
        remedy=f"{remedy}; `stageaudit audit --plan` shows what each question needs.",
    )


def shown_bytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"


def footprint(spec: ActionSpec, log: StageLog, *, activations: Mapping[str, int]) -> Footprint:
    """Return what an action needs.

    Args:
        spec: What is computed.
        log: Its log.
        activations: Bytes of one example's activations, by graph; nothing where not known; see
            :func:`auditor.model.activations.example_activations`.
    """
    match spec:
        case Advance() | SettleStage() | CoarseAdvance() | JumpStage() | FlowStage():
            return _through_a_stage(spec, log, activations)
        case CheckSegment():  # a second replay is perturbed
            own = _steps(log, spec.stage, activations, fraction=1.0)
            return replace(own, state=2 * own.state)
        case Embedding():
            first = stage_index(log, spec.intervention.stage)
            stages = range(first, len(log.stages))
            return _largest(_linear(log, stage, activations, fraction=1.0) for stage in stages)
        case Sweep():
            return _largest(_swept(log, stage, activations) for stage in range(len(log.stages)))
        case Evaluate():  # one state after the other, all of them there
            return Footprint(
                fixed=EVALUATED_AT_ONCE * _final_activations(log, activations),
                state=_state(log, len(log.stages) - 1),
            )
        case Project():
            return Footprint(
                state=2 * _state(log, len(log.stages) - 1),
                examples=2 * EVALUATED_AT_ONCE * _final_activations(log, activations),
            )
        case Displace() | BindModel() | ExportState():
            return Footprint(state=3 * _state(log, len(log.stages) - 1))
        case WriteReport():
            return NOTHING
        case _:
            assert_never(spec)


def _through_a_stage(
    spec: Advance | SettleStage | CoarseAdvance | JumpStage | FlowStage,
    log: StageLog,
    activations: Mapping[str, int],
) -> Footprint:
    stage = spec.stage
    match spec:
        case Advance() if is_whole_skip(spec.intervention):
            return Footprint(state=2 * _state(log, stage))
        case Advance():
            return _steps(log, stage, activations, fraction=spec.fraction)
        case SettleStage():  # besides, the two states whose difference is carried
            own = _steps(log, stage, activations, fraction=spec.fraction)
            return replace(own, state=own.state + 2 * _state(log, stage))
        case CoarseAdvance():  # besides, where the block began, its gradient and its noise
            own = _steps(
                log, stage, activations, fraction=min(1.0, spec.fraction) * spec.block_steps
            )
            return replace(own, state=own.state + 3 * _vector(log, stage))
        case JumpStage():
            return _linear(log, stage, activations, fraction=spec.fraction)
        case FlowStage():
            vectors = 4 * _vector(log, stage)  # of the eigenbasis, about
            return Footprint(
                fixed=vectors + _data(log, log.stages[stage]), state=3 * _state(log, stage)
            )
        case _:
            assert_never(spec)


def _steps(
    log: StageLog, index: int, activations: Mapping[str, int], *, fraction: float
) -> Footprint:
    """Steps of the optimizer: the state, its gradient and one intermediate result."""
    stage = log.stages[index]
    return Footprint(
        fixed=BLOCK_BYTES + _state(log, index) + _data(log, stage),
        state=_state(log, index) + 2 * _vector(log, index),
        examples=_examples(stage, fraction) * activations.get(stage.graph, 0),
    )


def _linear(
    log: StageLog, index: int, activations: Mapping[str, int], *, fraction: float
) -> Footprint:
    """Products with the Jacobians of steps: the recorded run once, its tangents a lane."""
    once = _steps(log, index, activations, fraction=fraction)
    return Footprint(
        fixed=once.fixed + once.lane, state=once.state + 2 * _state(log, index),
        examples=once.examples,
    )  # fmt: skip


def _swept(log: StageLog, index: int, activations: Mapping[str, int]) -> Footprint:
    one = _linear(log, index, activations, fraction=1.0)
    held = log.stages[index].steps * one.lane
    return Footprint(
        fixed=one.fixed + min(HELD_BYTES, held), state=one.state, examples=one.examples
    )


def _largest(found: Iterable[Footprint]) -> Footprint:
    return max(found, key=lambda own: own.alone, default=NOTHING)


def _vector(log: StageLog, index: int) -> int:
    """Return the bytes of theta in a stage."""
    present = present_after(log, index)
    return sum(
        prod(info.shape) * ITEM_BYTES[info.dtype]
        for name, info in log.parameters.items()
        if name in present and info.kind == "parameter" and info.tied_to is None
    )


def _state(log: StageLog, index: int) -> int:
    """Return the bytes of a training state: theta, what the optimizer keeps, and the rest."""
    stage, present = log.stages[index], present_after(log, index)
    buffers = sum(
        prod(info.shape) * ITEM_BYTES[info.dtype]
        for name, info in log.parameters.items()
        if name in present and info.kind == "buffer"
    )
    more = (stage.ema_decay is not None) + (stage.loss.reference is not None)
    return buffers + (1 + SLOTS.get(stage.optimizer.kind, 2) + more) * _vector(log, index)


def _data(log: StageLog, stage: Stage) -> int:
    return sum(_dataset(log.datasets[name]) for name in stage.datasets)


def _dataset(dataset: Dataset) -> int:
    example = sum(
        prod(column.shape) * ITEM_BYTES[column.dtype] for column in dataset.columns.values()
    )
    return example * dataset.examples


def _examples(stage: Stage, fraction: float) -> int:
    return max(1, round(fraction * (stage.examples_per_step or 1)))


def _final_activations(log: StageLog, activations: Mapping[str, int]) -> int:
    return activations.get(log.stages[-1].graph, 0)
