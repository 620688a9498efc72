"""AA-Score, adjoint form: one backward sweep a query, and the effect of every single step."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import NamedTuple, final

import torch
from torch import Tensor

from auditor.dynamics.factual import FactualBlock, FactualStage, matching, tensor_bytes
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock, Progress
from auditor.dynamics.pullback import Pullback
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_curvature
from auditor.dynamics.state import TrainingState
from auditor.dynamics.stepping import require_finite_state
from auditor.dynamics.trajectory import replay
from auditor.plan.check_average import require_no_average
from auditor.plan.curvature import StepCurvature
from auditor.plan.footprint import HELD_BYTES

KEEP_BYTES = 256 * 2**20
"""A stage whose states all fit in this is swept without a second recomputation."""


def sweep(
    run: Run, query_gradient: TrainingState, *, curvature: StepCurvature, on_block: OnBlock
) -> Tensor:
    r"""Return the derivative of a query by the gate of every step of the run.

    .. math:: \frac{d\gamma}{d\alpha_k}\Big|_{\alpha = 1}
        = \langle \lambda_{k+1},\, \Phi_k(\xi_k) - \xi_k \rangle,
        \qquad \lambda_k = J_k^T \lambda_{k+1}, \quad \lambda_K = (\nabla\gamma, 0)

    The sum over a stage's steps is its AA-Score, that over a window the window's. Cost in
    gradients a step, recomputation of the run included: 3 (exact), 2.3 (Gauss-Newton), 1 and a
    product in the eigenbasis (EK-FAC), 1 (none). One more for steps that are too few to be
    traced, or of which the way back needs more than ``HELD_BYTES`` hold; another where a stage's
    states exceed ``KEEP_BYTES``. Memory: then 2 sqrt(steps) states, besides the two bounds.
    Measured by ``python -m benchmarks.sweep_cost``.

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
    require_no_average(run.log.stages)
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


class _Step(NamedTuple):
    """A step on the way forth; ``held`` is what its way back needs, if it was kept."""

    pullback: Pullback
    state: tuple[Tensor, ...]
    arguments: tuple[Tensor, ...]
    held: tuple[Tensor, ...] | None


@final
class _StageSweep:
    """The way back through one stage."""

    def __init__(
        self, run: Run, index: int, *, curvature: StepCurvature, progress: Progress
    ) -> None:
        self._run, self._index = run, index
        self._curvature = stage_curvature(run, index, curvature)
        self._progress = progress
        self._factual = FactualStage(run, index)

    def pull(self, cotangent: TrainingState) -> tuple[TrainingState, list[Tensor]]:
        """Return the cotangent at the boundary before R_t, and effects [n] of blocks backwards."""
        start = self._factual.start()
        vector = matching(cotangent, start)
        parts: list[Tensor] = []
        for steps, state in reversed(self._checkpoints(start)):
            blocks = self._factual.blocks(steps)
            forth = self._forth(state, blocks)
            for block in reversed(blocks):
                own = [forth.pop() for _ in block.steps][::-1]
                vector, effects = self._back(block, own, vector)
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

    def _forth(self, state: TrainingState, blocks: Sequence[FactualBlock]) -> list[_Step]:
        """Return every step of some blocks, of the last ones also what their way back needs."""
        steps: list[_Step] = []
        tensors = state.tensors
        left = sum(len(block.steps) for block in blocks)
        for block in blocks:
            pullback = Pullback(
                self._run, self._index, block,
                factual=self._factual, curvature=self._curvature, like=state,
            )  # fmt: skip
            for arguments in pullback.arguments:
                after, held = pullback.forth(tensors, arguments)
                if held is not None and left * tensor_bytes(held) > HELD_BYTES:
                    held = None
                steps.append(_Step(pullback, tensors, arguments, held))
                tensors = after
                left -= 1
            self._progress.add(len(block.steps))
        return steps

    def _back(
        self, block: FactualBlock, steps: Sequence[_Step], vector: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the cotangent before a block, and the effect of each of its steps, [n]."""
        effects = []
        for step in reversed(steps):
            vector, effect = step.pullback.back(
                step.state, step.arguments, vector=vector, held=step.held
            )
            effects.append(effect)
        require_finite_state(vector, run=self._run, stage_index=self._index, block=block.steps)
        self._progress.add(len(block.steps))
        return vector, torch.stack(effects[::-1])


def _quiet(_done: int, _total: int) -> None:
    """Checkpoints on the way are no progress of the sweep."""
