"""One update of stochastic gradient descent for one parameter group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SgdForm:
    """Which terms of the arithmetic a step has; the numbers themselves are tensors.

    Attributes:
        momentum: Whether momentum is not zero, so that the buffer takes part.
        dampening: Whether dampening may be different from zero.
        nesterov: Whether the momentum is Nesterov's.
        decay: Whether weight decay may be different from zero.
    """

    momentum: bool
    dampening: bool
    nesterov: bool
    decay: bool


def sgd_update(
    theta: Tensor,
    gradient: Tensor,
    memory: tuple[Tensor, Tensor] | None,
    *,
    numbers: tuple[Tensor, Tensor, Tensor, Tensor],
    form: SgdForm,
    expand: Callable[[Tensor], Tensor],
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    r"""Return theta and (momentum buffer, ``initialised``) after one step of ``torch.optim.SGD``.

    .. math::
        g &\leftarrow g + \lambda \theta \\
        v' &= m v + (1 - d\, i) g, \qquad i' = 1 \\
        \theta' &= \theta - \eta\, (g + m v' \text{ if Nesterov, else } v')

    ``torch`` starts the buffer as a copy of the first gradient, whatever the dampening; the real
    number i in [0, 1] (did the buffer exist?) says the same smoothly, so that gates can scale it.

    Args:
        theta: [P] of the group.
        gradient: Mean gradient, [P].
        memory: (v [P], i per tensor [n]); None when the form has no momentum.
        numbers: Learning rate, momentum, dampening and weight decay, each [].
        form: Which terms take part.
        expand: Brings one number per tensor, [n], to [P], or to [1] when all n are equal.

    References:
        Sutskever et al. (2013); step for step in reference/test_optimizers_vs_torch.py.
    """
    learning_rate, momentum, dampening, weight_decay = numbers
    if form.decay:
        gradient = gradient + weight_decay * theta
    direction = gradient
    if form.momentum and memory is not None:
        velocity, flags = memory
        fresh = (1 - dampening * expand(flags)) * gradient if form.dampening else gradient
        velocity = velocity * momentum + fresh
        memory = (velocity, torch.ones_like(flags))
        direction = gradient + momentum * velocity if form.nesterov else velocity
    return theta - learning_rate * direction, memory
