"""Jackknife values: one number an example whose mean is a metric and whose spread its error."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LeaveOneOut:
    """A metric of N examples, and the same metric of all of them but one.

    Attributes:
        metric: M, [].
        without: M_{-i}, [N].
    """

    metric: Tensor
    without: Tensor

    @property
    def values(self) -> Tensor:
        r"""Jackknife values, [N], in the metric's unit.

        .. math:: v_i = M + (p_i - \bar p), \quad p_i = N M - (N - 1) M_{-i}

        Their mean is M itself (the usual jackknife would correct M's bias; here it is only centred
        on M), and their variance over N is the jackknife estimate of the variance of M. Of a mean
        of N numbers they are those numbers.

        References:
            Efron and Stein (1981), The jackknife estimate of variance.
        """
        others = self.without.shape[0] - 1
        centred = -others * (self.without - self.without.mean())
        return self.metric + (centred - centred.mean())


def block_values(metric: Tensor, without: Tensor, *, block: Tensor) -> Tensor:
    """Return jackknife values, [N], from a metric whose examples were left out block by block.

    As good as :class:`LeaveOneOut` for the variance where evaluating N times costs too much. The
    spread within blocks is unknown, so values are equal there, and are widened by the square root
    of the block size: their variance over N is that of the delete-a-block jackknife.

    Args:
        metric: M of all N examples, [].
        without: M without each block, [G].
        block: Which block each example is in, [N], in 0 to G - 1; sizes differ by one at most.
    """
    examples, blocks = block.shape[0], without.shape[0]
    deviation = -(blocks - 1) * (without - without.mean())  # [G]
    values = (deviation * (examples / blocks) ** 0.5)[block]  # [N]
    centred: Tensor = metric + (values - values.mean())
    return centred


def without_each(total: Tensor, parts: Tensor) -> Tensor:
    """Return a sum less each of its parts, [N]."""
    return torch.broadcast_to(total, parts.shape) - parts
