"""Gradient clipping as ``torch.nn.utils`` does it, as a function that can be differentiated."""

import torch
from torch import Tensor

from auditor.stagelog.log import Clipping

NORM_OFFSET = 1e-6
"""What torch adds to the norm before it divides by it."""


def clipped(
    gradient: Tensor, noise: Tensor | None, *, clipping: Clipping | None, trained: int
) -> tuple[Tensor, Tensor | None]:
    r"""Return the gradient that the optimizer sees, and its sampling variance likewise.

    .. math:: g \min\Big(1, \frac{c}{\lVert g \rVert_2 + 10^{-6}}\Big), \qquad
        \text{or entry by entry} \quad \min(\max(g_i, -c), c)

    By norm every entry depends on every other one through the norm, and so does its derivative,
    which is the true one except where the norm is exactly the limit. The norm is that of the
    trained parameters. A gradient of a sub-sample has a larger norm than that of all examples and
    is clipped harder: estimators that sub-sample are biased where clipping is active.

    Args:
        gradient: Of the whole step, [P].
        noise: Its variance by sub-sampling, [P], or None; as if the factor were a constant.
        clipping: What is done; None for nothing.
        trained: How many entries, from the first, belong to trained parameters.

    References:
        ``torch.nn.utils.clip_grad_norm_`` and ``clip_grad_value_``; step for step in
        reference/test_training_facts_vs_torch.py.
    """
    if clipping is None:
        return gradient, noise
    if clipping.kind == "value":
        limited = gradient.clamp(-clipping.limit, clipping.limit)
        if noise is not None:
            noise = torch.where(gradient.abs() <= clipping.limit, noise, 0)
        return limited, noise
    # The root of 0 has no derivative; a gradient that small is never clipped.
    squares = gradient[:trained].square().sum()
    norm = squares.clamp_min(torch.finfo(gradient.dtype).tiny).sqrt()
    factor = (clipping.limit / (norm + NORM_OFFSET)).clamp(max=1.0)
    return gradient * factor, None if noise is None else noise * factor.square()
