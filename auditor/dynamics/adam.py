"""One update of Adam or AdamW for one parameter group."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.heat import excess


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AdamForm:
    """Which terms of the arithmetic a step has; the numbers themselves are tensors.

    Attributes:
        decoupled: Whether weight decay acts on theta (AdamW) instead of the gradient (Adam).
        decay: Whether weight decay may be different from zero.
    """

    decoupled: bool
    decay: bool


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AdamNumbers:
    """Hyperparameters of one step and group, each [] float64.

    float64, because 1 - beta2 of a float32 beta2 = 0.999 is off by 1e-5 already.
    """

    learning_rate: Tensor
    beta1: Tensor
    beta2: Tensor
    eps: Tensor
    weight_decay: Tensor


def adam_update(
    theta: Tensor,
    gradient: Tensor,
    memory: tuple[Tensor, Tensor, Tensor],
    *,
    numbers: AdamNumbers,
    form: AdamForm,
    expand: Callable[[Tensor], Tensor],
    heat: tuple[Tensor, float] | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    r"""Return theta and (m, v, count) after one step of ``torch.optim.Adam`` or ``AdamW``.

    .. math::
        m' &= \beta_1 m + (1 - \beta_1) g, \qquad v' = \beta_2 v + (1 - \beta_2) g^2,
        \qquad c' = c + 1 \\
        \theta' &= \theta - \frac{\eta}{1 - \beta_1^{c'}}
        \frac{m'}{\sqrt{v'} / \sqrt{1 - \beta_2^{c'}} + \epsilon}

    The count c is a real number per tensor and part of the state: a gated step adds less than 1,
    and bias correction follows.

    Args:
        theta: [P] of the group.
        gradient: Mean gradient, [P].
        memory: m [P], v [P] and c [n].
        numbers: Hyperparameters.
        form: Which terms take part.
        expand: Brings one number per tensor, [n], to [P], or to [1] when all n are equal.
        heat: The averaged noise of sub-samples, [P], and b / B; what v' holds too much for it stays
            in v' and is kept out of the update, see :mod:`auditor.dynamics.heat`.

    References:
        Kingma and Ba (2015), arXiv 1412.6980; Loshchilov and Hutter (2019), arXiv 1711.05101;
        step for step in reference/test_optimizers_vs_torch.py.
    """
    first, second, count = memory
    dtype = theta.dtype
    if form.decay:
        if form.decoupled:
            theta = theta * (1 - numbers.learning_rate * numbers.weight_decay).to(dtype)
        else:
            gradient = gradient + numbers.weight_decay.to(dtype) * theta
    count = count + 1
    first = torch.lerp(first, gradient, (1 - numbers.beta1).to(dtype))
    second = second * numbers.beta2.to(dtype)  # before what is added: the old one can go
    second = torch.addcmul(second, gradient, gradient * (1 - numbers.beta2).to(dtype))

    exact = count.double()  # float64 in any run: see AdamNumbers
    rate = numbers.learning_rate / (1 - numbers.beta1**exact)  # [n]
    correction = (1 - numbers.beta2**exact).sqrt()  # [n]
    seen = second if heat is None else second - excess(second, heat[0], fraction=heat[1])
    root = smooth_root(seen) / expand(correction.to(dtype)) + numbers.eps.to(dtype)
    return theta - expand(rate.to(dtype)) * (first / root), (first, second, count)


def smooth_root(second: Tensor) -> Tensor:
    """Return sqrt(v) with derivative zero at v = 0.

    v = 0 means that every gradient so far was exactly zero (an unused embedding, a dead unit), so
    m = 0 too, and the derivative of m / (sqrt(v) + eps) there is dm / eps: the root's own, which
    is infinite, is multiplied by m = 0. Left to autograd it would be NaN.
    """
    return second.clamp_min(torch.finfo(second.dtype).tiny).sqrt()
