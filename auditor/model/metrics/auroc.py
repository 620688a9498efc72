"""Area under the receiver operating characteristic, with ties, and without each example."""

import torch
from torch import Tensor

from auditor.errors import QueryError
from auditor.model.metrics.jackknife import LeaveOneOut


def auroc(score: Tensor, positive: Tensor, *, where: str) -> LeaveOneOut:
    r"""Return the probability that a positive example scores above a negative one.

    .. math:: M = \frac{1}{P Q} \sum_{p, q} [s_p > s_q] + \tfrac12 [s_p = s_q]

    Sorting, not pairs: N log N.

    Args:
        score: s, [N]; only its order counts.
        positive: Which examples are positive, [N] bool.
        where: The query, for messages.

    Raises:
        QueryError: If there are fewer than two positive or two negative examples: the area, or
            its error, is not defined.

    References:
        Hanley and McNeil (1982); checked against scikit-learn in reference/test_metrics.py.
    """
    above, below = score[positive], score[~positive]
    for part, name in ((above, "positive"), (below, "negative")):
        if len(part) < 2:
            raise QueryError(
                f"{where}.target",
                expected=f"at least two {name} examples: the area under the curve compares "
                "positive with negative ones",
                found=f"{len(part)} of {len(score)}",
                remedy="Evaluate on data with both, or ask for the mean loss or margin.",
            )
    wins = _halves_below(above, below)  # [P]: negative examples that a positive one beats
    losses = len(above) - _halves_below(below, above)  # [Q]: positive ones that beat a negative one
    total = wins.sum()
    without = torch.empty_like(score)
    without[positive] = (total - wins) / ((len(above) - 1) * len(below))
    without[~positive] = (total - losses) / (len(above) * (len(below) - 1))
    return LeaveOneOut(metric=total / (len(above) * len(below)), without=without)


def _halves_below(values: Tensor, others: Tensor) -> Tensor:
    """Return how many of ``others`` lie below each value, ties counted as one half."""
    ordered = others.sort().values
    lower = torch.searchsorted(ordered, values, right=False)
    upper = torch.searchsorted(ordered, values, right=True)
    return (lower + upper).to(values.dtype) / 2
