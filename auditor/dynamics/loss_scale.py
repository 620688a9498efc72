"""Steps of a gradient scaler: the loss times a recorded number, and no update where that overflows.

In float16 small gradients would vanish. A scaler multiplies the loss by a large number before the
backward pass and divides the gradients by it after; where a gradient is not finite then, the
optimizer takes no step, as ``torch.amp.GradScaler`` does it. A replay multiplies by the recorded
number of each step: a counterfactual run keeps the scales of the recorded one.
"""

from dataclasses import replace

import torch
from torch import Tensor

from auditor.dynamics.state import TrainingState
from auditor.model.objective import Minibatch


def scaled_batch(batch: Minibatch, scale: Tensor) -> Minibatch:
    """Return a minibatch whose loss is the scale, [], times its own."""
    return replace(batch, denominator=batch.denominator / scale)


def unscaled(gradient: Tensor, scale: Tensor, *, trained: int) -> tuple[Tensor, Tensor]:
    """Return the gradient of the loss itself, [P], and whether an optimizer may use it, [].

    Args:
        gradient: Of the scaled loss, [P].
        scale: What the loss was multiplied by, [].
        trained: How many entries, from the first, belong to trained parameters.

    Returns:
        Zeros where a trained entry is not finite, so that nothing after it has to deal with them.
    """
    own = gradient * scale.reciprocal()
    finite = torch.isfinite(own[:trained]).all()
    return torch.where(finite, own, torch.zeros_like(own)), finite


def unless_refused(before: TrainingState, after: TrainingState, taken: Tensor) -> TrainingState:
    """Return the state after a step, or that before it with the buffers after, where none is taken.

    The forward pass took place: running statistics have moved.
    """
    return TrainingState(
        theta=torch.where(taken, after.theta, before.theta),
        slots={
            name: torch.where(taken, own, before.slots[name]) for name, own in after.slots.items()
        },
        buffers=after.buffers,
    )
