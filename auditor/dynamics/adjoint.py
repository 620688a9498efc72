"""AA-Score, adjoint form: one backward sweep a query, and the effect of every single step."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import Curvature
from auditor.dynamics.factual import FactualBlock, FactualStage, matching
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_curvature
from auditor.dynamics.state import TrainingState
from auditor.dynamics.stepping import (
    StepKind,
    TensorFunction,
    require_finite_state,
    step_function,
    step_map,
    unpacked,
)
from auditor.dynamics.trajectory import replay
from auditor.plan.curvature import StepCurvature

KEEP_BYTES = 256 * 2**20
"""A stage whose states all fit in this is swept without a second recomputation."""


def sweep(
    run: Run, query_gradient: TrainingState, *, curvature: StepCurvature, on_block: OnBlock
) -> Tensor:
    r"""Return the derivative of a query by the gate of every step of the run.

    .. math:: \frac{d\gamma}{d\alpha_k}\Big|_{\alpha = 1}
        = \langle \lambda_{k+1},\, \Phi_k(\xi_k) - \xi_k \rangle,
        \qquad \lambda_k = J_k^T \lambda_{k+1}, \quad \lambda_K = (\nabla\gamma, 0)

    The sum over a stage's steps is its AA-Score, that over a window the window's. Cost: one
    recomputation of the run and one vector-Jacobian product a step, 3.3 gradients a step in all;
    4.3 where a stage's states exceed ``KEEP_BYTES``. Memory: then 2 sqrt(steps) states.

    Args:
        run: The recorded run.
        query_gradient: Cotangent of the final state, in the final layout.
        curvature: H in the Jacobian of a step: ``exact`` (Hessian-vector products), ``ggn``
            (Gauss-Newton), an EK-FAC of every stage, or ``none`` (gradients held constant).
        on_block: Told about every 32 steps.

    Returns:
        [K] float64, by global step.

    Raises:
        NumericalError: If the cotangent diverges.

    References:
        "Who Gets Credit or Blame?" (2025), arXiv 2506.00175; checked in identities/test_aa_score.py
        against the tangent form and central differences of gated retraining.
    """
    stages = run.log.stages
    progress = Progress(total=2 * sum(stage.steps for stage in stages), on_block=on_block)
    cotangent = query_gradient
    parts: list[Tensor] = []
    for index in reversed(range(len(stages))):
        stage = _StageSweep(run, index, curvature=curvature, progress=progress)
        cotangent, effects = stage.pull(cotangent)
        parts += effects
    progress.finish()
    return torch.cat(parts[::-1]) if parts else torch.zeros(0, dtype=torch.float64)


@final
class _StageSweep:
    """The way back through one stage."""

    def __init__(
        self, run: Run, index: int, *, curvature: StepCurvature, progress: Progress
    ) -> None:
        self._run, self._index = run, index
        self._curvature = curvature
        self._progress = progress
        self._factual = FactualStage(run, index)

    def pull(self, cotangent: TrainingState) -> tuple[TrainingState, list[Tensor]]:
        """Return the cotangent at the boundary before R_t, and effects [n] of blocks backwards."""
        start = self._factual.start()
        vector = matching(cotangent, start)
        parts: list[Tensor] = []
        for steps, state in reversed(self._checkpoints(start)):
            blocks = self._factual.blocks(steps)
            states = self._states(state, blocks)
            for block in reversed(blocks):
                own = states[block.steps.start - steps.start : block.steps.stop - steps.start]
                vector, effects = self._pull_block(block, own, vector=vector, like=start)
                parts.append(effects)
        transition, boundary = self._run.transition(self._index), self._run.boundary(self._index)

        def of_boundary(*tensors: Tensor) -> tuple[Tensor, ...]:
            return transition(boundary.replaced(tensors)).tensors

        pulled = torch.func.vjp(of_boundary, *boundary.tensors)
        return boundary.replaced(pulled[1](vector)), parts

    def _checkpoints(self, start: TrainingState) -> list[tuple[range, TrainingState]]:
        """Return the stage in runs of steps, each with the state that it starts from."""
        n = self._run.log.stages[self._index].steps
        state_bytes = sum(tensor.numel() * tensor.element_size() for tensor in start.tensors)
        length = n if n * state_bytes <= KEEP_BYTES else ceil(sqrt(n))
        result, state = [], start
        for first in range(0, n, length):
            steps = range(first, min(first + length, n))
            result.append((steps, state))
            if steps.stop < n:
                state = replay(
                    self._run, self._index, [state], lanes=[Lane()], steps=steps, on_block=_quiet
                ).states[0]
        return result

    def _states(
        self, state: TrainingState, blocks: Sequence[FactualBlock]
    ) -> list[tuple[Tensor, ...]]:
        """Return the state before every step of some blocks."""
        states = []
        tensors = state.tensors
        for block in blocks:
            arguments = self._factual.arguments(block)
            kind = StepKind(form=block.form, uniform=False, gated=False, lanes=None, shared=True)
            function = self._factual.traced(
                step_function(self._run, self._index, kind=kind, like=state),
                block,
                key=("step", kind, self._structure(state)),
                arguments=(*tensors, *arguments[0]),
            )
            for of_step in arguments:
                states.append(tensors)
                tensors = function(*tensors, *of_step)
            self._progress.add(len(block.steps))
        return states

    def _pull_block(
        self,
        block: FactualBlock,
        states: Sequence[tuple[Tensor, ...]],
        *,
        vector: tuple[Tensor, ...],
        like: TrainingState,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the cotangent before a block, and the effect of each of its steps, [n]."""
        arguments = self._factual.arguments(block)
        function = self._factual.traced(
            self._pull_step(block, like=like),
            block,
            key=("adjoint", block.form, self._h(), self._structure(like)),
            arguments=(*states[0], *vector, *arguments[0]),
        )
        effects = []
        for tensors, of_step in zip(reversed(states), reversed(arguments), strict=True):
            *pulled, effect = function(*tensors, *vector, *of_step)
            vector = tuple(pulled)
            effects.append(effect)
        require_finite_state(vector, run=self._run, stage_index=self._index, block=block.steps)
        self._progress.add(len(block.steps))
        return vector, torch.stack(effects[::-1])

    def _pull_step(self, block: FactualBlock, *, like: TrainingState) -> TensorFunction:
        """Return (*state, *cotangent after, *arguments) -> (*cotangent before, effect)."""
        phi = step_map(self._run, self._index, form=block.form, uniform=False, curvature=self._h())
        width = len(like.tensors)

        def pull(*arguments: Tensor) -> tuple[Tensor, ...]:
            before, vector = arguments[:width], arguments[width : 2 * width]
            row, batch, _ = unpacked(arguments[2 * width :], gated=False)

            def of_state(*tensors: Tensor) -> tuple[Tensor, ...]:
                return phi(like.replaced(tensors), batch, row).tensors

            pulled = torch.func.vjp(of_state, *before)
            change = [b - a for a, b in zip(before, pulled[0], strict=True)]
            return (*pulled[1](vector), _inner(vector, change))

        return pull

    def _h(self) -> Curvature:
        return stage_curvature(self._run, self._index, self._curvature)

    def _structure(self, state: TrainingState) -> tuple[tuple[str, ...], ...]:
        return tuple(sorted(state.slots)), tuple(sorted(state.buffers))


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two vectors, [] float64."""
    products = [(a.double() * b.double()).sum() for a, b in zip(left, right, strict=True)]
    return torch.stack(products).sum()


def _quiet(_done: int, _total: int) -> None:
    """Checkpoints on the way are no progress of the sweep."""
