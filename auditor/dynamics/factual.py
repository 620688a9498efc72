"""The recorded steps of a stage, block by block, for what goes along the factual trajectory."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.hyperparameters import StepForm
from auditor.dynamics.minibatches import Lane, StageBatches
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.stepping import (
    WORTH_TRACING,
    TensorFunction,
    step_arguments,
    traced_when_worth,
)
from auditor.model.two_parts import Early, Late, Tensors, trace_in_two_parts


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FactualBlock:
    """Consecutive recorded steps of one form and size.

    Attributes:
        steps: Counted from the stage's first.
        form: Which terms the arithmetic has.
    """

    steps: range
    form: StepForm


@final
class FactualStage:
    """A stage as it was trained.

    Args:
        run: The recorded run.
        stage_index: The stage, from 0.
        lane: How its steps are sampled; all of their examples by default.
    """

    def __init__(self, run: Run, stage_index: int, *, lane: Lane | None = None) -> None:
        self._run, self._index = run, stage_index
        self._batches = StageBatches(run, stage_index, lanes=[lane or Lane()])
        forms = run.hyperparameters(stage_index).forms
        self._kinds = list(zip(forms, self._batches.sizes.tolist(), strict=True))
        self._repeats = Counter(self._kinds)

    def start(self) -> TrainingState:
        """Return the recorded state before the stage, after R_t."""
        return self._run.transition(self._index)(self._run.boundary(self._index))

    def blocks(self, steps: range) -> list[FactualBlock]:
        """Return some steps in blocks, in order, at most ``BLOCK_STEPS`` long each."""
        blocks = []
        for (form, _), members in groupby(steps, key=lambda step: self._kinds[step]):
            own = list(members)
            length = self._batches.block_steps(own[0], lanes=1)
            blocks += [
                FactualBlock(steps=range(first, min(first + length, own[-1] + 1)), form=form)
                for first in range(own[0], own[-1] + 1, length)
            ]
        return blocks

    def arguments(self, block: FactualBlock) -> list[tuple[Tensor, ...]]:
        """Return (row, target, weights, denominator, *inputs) of each step of a block."""
        first, end = block.steps.start, block.steps.stop
        rows = self._run.hyperparameters(self._index).step_rows[first:end]
        return step_arguments(rows, self._batches.block(first, end, lanes=(0,)))

    def traced(
        self,
        function: TensorFunction,
        block: FactualBlock,
        *,
        key: tuple[object, ...],
        arguments: tuple[Tensor, ...],
    ) -> TensorFunction:
        """Return a function of one step, traced where the stage has enough steps of its kind.

        Args:
            function: What is computed of one step.
            block: Where it is wanted.
            key: Tells functions of this stage apart.
            arguments: Example arguments.
        """
        return traced_when_worth(
            self._run,
            lambda: function,
            key=self._own(key),
            arguments=arguments,
            steps=self._repeats[self._kinds[block.steps.start]],
        )

    def in_two_parts(
        self,
        function: Callable[..., tuple[Tensors, Tensors]],
        block: FactualBlock,
        *,
        key: tuple[object, ...],
        early: Tensors,
        late: Tensors,
    ) -> tuple[Early, Late] | None:
        """Return a function of one step in two parts, or None where tracing does not pay.

        Args:
            function: (*early, *late) -> (early results, late results).
            block: Where it is wanted.
            key: Tells functions of this stage apart.
            early: Example arguments.
            late: Example arguments that are known later.
        """
        if self._repeats[self._kinds[block.steps.start]] < WORTH_TRACING:
            return None
        shapes = tuple((tuple(a.shape), a.dtype) for a in (*early, *late))
        return self._run.keep(
            ("two parts", self._own(key), shapes),
            lambda: trace_in_two_parts(function, early=early, late=late),
        )

    def _own(self, key: tuple[object, ...]) -> tuple[object, ...]:
        return (*key, id(self._run.objective(self._index)), self._run.spans(self._index))


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the memory of some tensors; what they share is counted once."""
    stores = [tensor.untyped_storage() for tensor in tensors]
    return sum({store.data_ptr(): store.nbytes() for store in stores}.values())


def matching(vector: TrainingState, like: TrainingState) -> tuple[Tensor, ...]:
    """Return a tangent's or cotangent's tensors in the structure of a state.

    A recorded state may lack slots that were carried along unused, or hold some that the
    arithmetic does not need: what is missing is zero, what has no place is dropped.
    """
    slots = {
        slot: vector.slots.get(slot, torch.zeros_like(values))
        for slot, values in like.slots.items()
    }
    buffers = {
        name: vector.buffers.get(name, torch.zeros_like(values))
        for name, values in like.buffers.items()
    }
    return TrainingState(theta=vector.theta, slots=slots, buffers=buffers).tensors
