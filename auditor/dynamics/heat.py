r"""Adam's second moment without the noise that a sub-sample adds to it.

On b of B examples a squared gradient is larger by about :math:`(1 - b/B)` times the variance
:math:`n` of the sub-sample's mean, and Adam's steps are smaller for it. The variance is estimated
from the two halves of each sub-sample, :math:`n_k = p (1 - p) (g_1 - g_2)^2` with p the part of it
that the first half is, 1/2 or nearly, and averaged as v is: correcting single steps instead of
averages diverges (decisions, 9).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from auditor.dynamics.state import TrainingState
from auditor.model.objective import Minibatch

NOISE = "noise"
"""The slot of the averaged n, [P]; it lives within a stage."""
SECOND = "exp_avg_sq"


def halves(batch: Minibatch) -> tuple[Minibatch, Minibatch, float]:
    """Return the first and second half of a minibatch and the part that the first is.

    Args:
        batch: Without lane axes; at least two examples.
    """
    size = batch.weights.shape[0]
    first = size // 2
    part = first / size

    def cut(rows: slice, share: float) -> Minibatch:
        return Minibatch(
            inputs=tuple(tensor[rows] for tensor in batch.inputs),
            target=batch.target[rows],
            weights=batch.weights[rows],
            denominator=batch.denominator * share,
        )

    return cut(slice(0, first), part), cut(slice(first, size), 1 - part), part


def excess(second: Tensor, noise: Tensor, *, fraction: float) -> Tensor:
    r"""Return what is too much in v: :math:`\min((1 - b/B) n, (1 - b/B) v)`.

    The bound keeps v above :math:`(b/B) v`, as if all of it were noise of independent examples.

    Args:
        second: v, [..., P].
        noise: The average of n over the same steps, [..., P].
        fraction: b / B.
    """
    return (1 - fraction) * torch.minimum(noise, second)


def with_noise(state: TrainingState) -> TrainingState:
    """Return the state with an empty noise average beside v."""
    empty = torch.zeros_like(state.slots[SECOND])
    return replace(state, slots={**state.slots, NOISE: empty})


def without_noise(state: TrainingState, *, fraction: float) -> TrainingState:
    """Return the state as a full-batch stage would leave it: v without its excess."""
    slots: Mapping[str, Tensor] = state.slots
    second = slots[SECOND] - excess(slots[SECOND], slots[NOISE], fraction=fraction)
    kept = {name: values for name, values in slots.items() if name != NOISE}
    return replace(state, slots={**kept, SECOND: second})
