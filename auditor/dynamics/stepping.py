"""Steps as flat tensor functions: what is vmapped over lanes, traced, and called in loops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import Curvature
from auditor.curvature.exact import ExactCurvature
from auditor.dynamics.gates import gate
from auditor.dynamics.groups import GroupSpan
from auditor.dynamics.hyperparameters import StepForm
from auditor.dynamics.minibatches import BlockExamples
from auditor.dynamics.prepared import Keeper
from auditor.dynamics.run import Run
from auditor.dynamics.state import PER_TENSOR_SLOTS, TrainingState
from auditor.dynamics.step_map import StepMap
from auditor.errors import NumericalError
from auditor.model.objective import Minibatch
from auditor.model.traced import StraightLine, trace

WORTH_TRACING = 64
"""Steps of one kind from which tracing pays: it costs as much as 60 to 150 untraced steps."""

TensorFunction = Callable[..., tuple[Tensor, ...]]
"""(*state tensors, row, target, weights, denominator, *inputs[, alpha]) -> state tensors."""


def taken(function: TensorFunction, arguments: list[Tensor]) -> tuple[Tensor, ...]:
    """Return a step's result and empty the list; a traced one frees arguments on its way."""
    if isinstance(function, StraightLine):
        result: tuple[Tensor, ...] = function.consume(arguments)
        return result
    result = function(*arguments)
    arguments.clear()
    return result


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StepKind:
    """What distinguishes traced steps of one stage besides shapes.

    Attributes:
        form: Which terms the arithmetic has.
        uniform: Whether tensors of a group share one count.
        gated: Whether alpha is an argument.
        lanes: Number of lanes, or None for a state without lane axis.
        shared: Whether all lanes use the same examples.
        own_numbers: Whether lanes have hyperparameters of their own.
        fraction: b / B where Adam's second moment is rid of the sub-sample's noise, else None.
    """

    form: StepForm
    uniform: bool
    gated: bool
    lanes: int | None
    shared: bool
    own_numbers: bool = False
    fraction: float | None = None


def step_map(
    run: Run,
    stage_index: int,
    *,
    form: StepForm,
    uniform: bool,
    curvature: Curvature,
    fraction: float | None = None,
) -> StepMap:
    """Return Phi_k for the steps of one form."""
    return StepMap(
        gradient_of=curvature.gradient_of(run.objective(stage_index)),
        constants=run.constants(stage_index),
        spans=run.spans(stage_index),
        form=form,
        uniform=uniform,
        clipping=run.log.stages[stage_index].clipping,
        ema_decay=run.log.stages[stage_index].ema_decay,
        fraction=fraction,
        scaled=run.log.stages[stage_index].loss_scale is not None,
    )


def step_function(
    run: Run, stage_index: int, *, kind: StepKind, like: TrainingState
) -> TensorFunction:
    """Return a step, gated if the kind says so, over all lanes, as a function of tensors.

    Args:
        run: The recorded run.
        stage_index: The stage.
        kind: Which step.
        like: A state with the structure of those that will be passed.
    """
    phi = step_map(
        run,
        stage_index,
        form=kind.form,
        uniform=kind.uniform,
        curvature=ExactCurvature(),
        fraction=kind.fraction,
    )
    width = len(like.tensors)

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        state = like.replaced(arguments[:width])
        row, batch, alpha = unpacked(arguments[width:], gated=kind.gated)
        proposed = phi(state, batch, row)
        return (proposed if alpha is None else gate(state, proposed, alpha=alpha)).tensors

    if kind.lanes is None:
        return step
    example = None if kind.shared else 0
    stage = run.log.stages[stage_index]
    inputs = len(stage.bindings.inputs) + stage.masked
    numbers = 0 if kind.own_numbers else None
    axes = [0] * width + [numbers, example, example, None] + [example] * inputs
    return torch.func.vmap(step, in_dims=(*axes, *([0] if kind.gated else [])))


def unpacked(
    arguments: Sequence[Tensor], *, gated: bool
) -> tuple[Tensor, Minibatch, Tensor | None]:
    """Return (row, batch, alpha) from the arguments of a step after the state."""
    row, target, weights, denominator, *inputs = arguments
    alpha = inputs.pop() if gated else None
    batch = Minibatch(inputs=tuple(inputs), target=target, weights=weights, denominator=denominator)
    return row, batch, alpha


def step_arguments(rows: Tensor, examples: BlockExamples) -> list[tuple[Tensor, ...]]:
    """Return the arguments of each step of a block after the state, without alpha.

    Args:
        rows: [n, (L,) groups * columns].
        examples: Of the same n steps.
    """
    columns = (rows, examples.target, examples.weights, examples.denominator, *examples.inputs)
    return list(zip(*(column.unbind(0) for column in columns), strict=True))


def traced_when_worth(
    kept: Keeper,
    function: Callable[[], TensorFunction],
    *,
    key: tuple[object, ...],
    arguments: tuple[Tensor, ...],
    steps: int,
) -> TensorFunction:
    """Return the function traced at the shapes of its arguments, or as it is for few steps.

    Args:
        kept: Keeps the traces.
        function: Makes the function.
        key: What it computes.
        arguments: Example arguments.
        steps: How often it is going to be called.
    """
    shapes = tuple((tuple(a.shape), a.dtype) for a in arguments)
    if steps < WORTH_TRACING and not kept.keeps(("traced", key, shapes)):
        return function()
    return kept.keep(("traced", key, shapes), lambda: trace(function(), arguments))


def uniform_groups(state: TrainingState, spans: Sequence[GroupSpan]) -> bool:
    """Say whether the tensors of every group share their numbers, in every lane of a state."""
    for slot in PER_TENSOR_SLOTS & set(state.slots):
        for span in spans[:-1]:
            numbers = span.numbers(state.slots[slot])
            if numbers.shape[-1] and not bool((numbers == numbers[..., :1]).all()):
                return False
    return True


def require_finite_state(
    tensors: Sequence[Tensor], *, run: Run, stage_index: int, block: range
) -> None:
    """Refuse non-finite numbers after a block of steps, counted from the stage's first.

    Raises:
        NumericalError: If there are any, naming the stage and the block's steps.
    """
    finite = torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all()
    if not finite.item():
        stage = run.log.stages[stage_index]
        first, last = stage.first_step + block.start, stage.first_step + block.stop - 1
        raise NumericalError(
            f"stages[{stage.name}].steps[{first}..{last}]",
            expected="finite numbers",
            found="NaN or infinity",
            remedy="The computation diverges here: ask for a smaller change of the run, for more "
            "examples per step, or for an estimator that does not linearise.",
        )
