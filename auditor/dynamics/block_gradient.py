"""The gradient of a block of steps: one mean over some of its examples, and its sampling noise."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.dynamics.state import TrainingState, forward_buffers
from auditor.model.objective import Minibatch

CHUNKS = 8
"""In how many parts a block's examples are divided where their variance is wanted."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockGradient:
    r"""The gradient that stands for every step of a block, and what its steps' own would scatter.

    .. math:: g = \frac{B}{m D} \sum_{i=1}^m w_i \nabla l_i, \qquad
        n = \Big(\frac{B}{D}\Big)^2 \Big(\frac{1}{B} - \frac{1}{m}\Big) \hat\sigma^2

    for m of the block's examples, B examples a step and a step's divisor D (B for a mean loss, 1
    for a sum). A step's own gradient has the variance sigma^2 / B, the block's has
    sigma^2 / m: n is what is missing from the square of g, entry by entry, for Adam's second
    moment. sigma^2 is estimated from the means of chunks, unbiased for chunks of any sizes.

    Attributes:
        gradient_of: Value of the gradient.
        step_examples: B.
        divisor: D.
        noise: Whether n is wanted: needs m > B.
    """

    gradient_of: GradientFunction
    step_examples: int
    divisor: float
    noise: bool

    def __call__(
        self, state: TrainingState, constants: dict[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return g [P], n [P] (zeros where it is not wanted), and the buffers after.

        Args:
            state: Where, without lane axes.
            constants: Buffers that are not floating point.
            batch: The m examples; its denominator is not read.
        """
        buffers = forward_buffers(state, constants)
        m = batch.target.shape[0]
        scale = self.step_examples / (m * self.divisor)
        one = torch.ones_like(batch.denominator)
        if not self.noise:
            total, moved = self.gradient_of(state.theta, buffers, _with(batch, denominator=one))
            return scale * total, torch.zeros_like(total), moved
        chunks, counts = _chunks(batch, one=one)

        def of_chunk(chunk: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
            return self.gradient_of(state.theta, buffers, chunk)

        sums, after = torch.func.vmap(of_chunk)(chunks)  # [G, P]
        mean = sums.sum(0) / m
        deviation = sums / counts[:, None] - mean
        variance = (counts[:, None] * deviation.square()).sum(0) / (len(counts) - 1)
        missing = (self.step_examples / self.divisor) ** 2 * (1 / self.step_examples - 1 / m)
        moved = {name: values[0] for name, values in after.items()}
        return scale * sums.sum(0), missing * variance, moved


def _with(batch: Minibatch, *, denominator: Tensor) -> Minibatch:
    return Minibatch(
        inputs=batch.inputs, target=batch.target, weights=batch.weights, denominator=denominator
    )


def _chunks(batch: Minibatch, *, one: Tensor) -> tuple[Minibatch, Tensor]:
    """Return the examples in chunks, [G, n, ...] each, and how many are in each, [G].

    Chunks are filled up with the first example at weight 0.
    """
    m = batch.target.shape[0]
    groups = min(CHUNKS, m)
    size = -(-m // groups)
    groups = -(-m // size)
    place = torch.arange(groups * size, device=batch.target.device)
    index, real = place.where(place < m, 0), (place < m).to(batch.weights)
    counts = real.reshape(groups, size).sum(1)

    def cut(values: Tensor) -> Tensor:
        return values.index_select(0, index).reshape(groups, size, *values.shape[1:])

    weights = (batch.weights.index_select(0, index) * real).reshape(groups, size)
    chunks = Minibatch(
        inputs=tuple(cut(values) for values in batch.inputs),
        target=cut(batch.target),
        weights=weights,
        denominator=one.expand(groups),
    )
    return chunks, counts
