"""Expected calibration error, and the same without each example."""

import torch
from torch import Tensor

from auditor.model.metrics.jackknife import LeaveOneOut


def expected_calibration_error(confidence: Tensor, correct: Tensor, *, bins: int) -> LeaveOneOut:
    r"""Return how far confidence and frequency differ on average over bins of equal width.

    .. math:: M = \frac1N \sum_b \left| \sum_{i \in b} (c_i - y_i) \right|

    Bins are (k / B, (k + 1) / B]; the first one holds 0 too.

    Args:
        confidence: c, the probability given to an event, [N] in 0 to 1.
        correct: y, 1 where the event happened, [N].
        bins: B >= 1.

    References:
        Guo et al. (2017), arXiv 1706.04599, eq. 3.
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    place = torch.bucketize(confidence.contiguous(), edges[1:-1])  # [N], 0 to B - 1; (lo, hi]
    excess = confidence - correct.to(confidence.dtype)  # [N]
    sums = torch.zeros_like(edges[1:]).index_add(0, place, excess)  # [B]
    total = sums.abs().sum()
    examples = len(confidence)
    own = sums[place]  # [N]
    without = (total - own.abs() + (own - excess).abs()) / (examples - 1)
    return LeaveOneOut(metric=total / examples, without=without)
