"""Perplexity of a text, and the same without each example."""

import torch
from torch import Tensor

from auditor.model.metrics.jackknife import LeaveOneOut, without_each


def perplexity(surprise: Tensor, tokens: Tensor) -> LeaveOneOut:
    r"""Return the exponential of the mean loss over all tokens, whichever example they are in.

    .. math:: M = \exp \left( \sum_i L_i / \sum_i T_i \right)

    Args:
        surprise: L, the summed loss of each example's tokens in nats, [N].
        tokens: T, how many there are, [N], at least one each.
    """
    total, count = surprise.sum(), tokens.sum()
    return LeaveOneOut(
        metric=torch.exp(total / count),
        without=torch.exp(without_each(total, surprise) / without_each(count, tokens)),
    )


def perplexity_gradient(surprise: Tensor, tokens: Tensor) -> Tensor:
    """Return d M / d L_i, the same number for every example, [N]."""
    count = tokens.sum()
    return torch.exp(surprise.sum() / count).expand(len(tokens)) / count
