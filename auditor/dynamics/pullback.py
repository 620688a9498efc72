"""One recorded step forwards, and cotangents pulled back through it later."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import Curvature
from auditor.dynamics.factual import FactualBlock, FactualStage
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.stepping import step_map, unpacked
from auditor.model.two_parts import Tensors


@final
class Pullback:
    """The steps of a block, all of one form and size.

    Where steps are traced, what the way back needs of a step (activations, gradients) is a result
    of the way forth, so that kept, it need not be computed again.

    Args:
        run: The recorded run.
        stage_index: The stage.
        block: Its steps.
        factual: The stage as it was trained, which keeps traces.
        curvature: H in the steps' Jacobians.
        like: A state with the stage's structure.
    """

    def __init__(
        self,
        run: Run,
        stage_index: int,
        block: FactualBlock,
        *,
        factual: FactualStage,
        curvature: Curvature,
        like: TrainingState,
    ) -> None:
        self._phi = step_map(run, stage_index, form=block.form, uniform=False, curvature=curvature)
        self._like = like
        self.arguments = factual.arguments(block)
        """(row, target, weights, denominator, *inputs) of each step."""
        structure = (tuple(sorted(like.slots)), tuple(sorted(like.buffers)))
        self._parts = factual.in_two_parts(
            self._step,
            block,
            key=("pullback", block.form, curvature, structure),
            early=(*like.tensors, *self.arguments[0]),
            # Other tensors than the state's own, which a trace would take for one argument.
            late=tuple(torch.zeros_like(tensor) for tensor in like.tensors),
        )

    def forth(self, state: Tensors, arguments: Tensors) -> tuple[Tensors, Tensors | None]:
        """Return the state after a step, and what :meth:`back` needs, if that saves anything."""
        if self._parts is None:
            return self._after(state, arguments), None
        return self._parts[0]((*state, *arguments))

    def back(
        self, state: Tensors, arguments: Tensors, *, vector: Tensors, held: Tensors | None
    ) -> tuple[Tensors, Tensor]:
        """Return the cotangent before a step, and its product with what the step changed.

        Args:
            state: Before the step.
            arguments: The step's.
            vector: Cotangent of the state after the step.
            held: Second result of :meth:`forth`; None if it was not kept.
        """
        if self._parts is None:
            *pulled, effect = self._step(*state, *arguments, *vector)[1]
        else:
            early, late = self._parts
            needed = early((*state, *arguments))[1] if held is None else held
            *pulled, effect = late(needed, vector)
        return tuple(pulled), effect

    def _after(self, state: Tensors, arguments: Tensors) -> Tensors:
        row, batch, _ = unpacked(arguments, gated=False)
        return self._phi(self._like.replaced(state), batch, row).tensors

    def _step(self, *arguments: Tensor) -> tuple[Tensors, Tensors]:
        """Return the state after, and (*cotangent before, effect), of (*state, *step, *vector)."""
        width = len(self._like.tensors)
        before, vector = arguments[:width], arguments[-width:]
        of_step = arguments[width:-width]

        def of_state(*tensors: Tensor) -> Tensors:
            return self._after(tensors, of_step)

        pulled = torch.func.vjp(of_state, *before)
        after = pulled[0]
        change = [b - a for a, b in zip(before, after, strict=True)]
        return after, (*pulled[1](vector), _inner(vector, change))


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two vectors, [] float64."""
    products = [(a.double() * b.double()).sum() for a, b in zip(left, right, strict=True)]
    return torch.stack(products).sum()
