"""Differences between groups of examples, and the same without each example.

Definitions as in fairlearn: the difference between the largest and the smallest of the groups'
rates, and for equalised odds the larger one of two such differences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.errors import QueryError
from auditor.model.metrics.jackknife import LeaveOneOut

Combine = Callable[[Tensor], Tensor]
"""Means of the groups, [..., G], -> one number, [...]."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """Which group each example is in.

    Attributes:
        of: [N] int64, 0 to G - 1.
        names: G texts, for messages.
        where: The path of the column in the request, for messages.
    """

    of: Tensor
    names: Sequence[str]
    where: str


def gap(means: Tensor) -> Tensor:
    """Return the difference between the largest and the smallest group, [...]."""
    return means.amax(dim=-1) - means.amin(dim=-1)


def lowest(means: Tensor) -> Tensor:
    """Return the smallest group's mean, [...]."""
    return means.amin(dim=-1)


def highest(means: Tensor) -> Tensor:
    """Return the largest group's mean, [...]."""
    return means.amax(dim=-1)


def over_groups(values: Tensor, groups: Groups, *, combine: Combine) -> LeaveOneOut:
    """Return a combination of the groups' mean values.

    Args:
        values: [N].
        groups: Which group each example is in.
        combine: :func:`gap`, :func:`lowest` or :func:`highest`.

    Raises:
        QueryError: If there is one group only, or a group has fewer than two examples.
    """
    everyone = torch.ones_like(groups.of, dtype=torch.bool)
    means, without = _means(values, groups, counted=everyone, what="examples")
    return LeaveOneOut(metric=combine(means), without=combine(without))


def equalised_odds(chosen: Tensor, positive: Tensor, groups: Groups) -> LeaveOneOut:
    """Return the larger of the groups' gaps in true and in false positive rate.

    Args:
        chosen: 1 where the model predicts the class, else 0, [N].
        positive: Whether the example is of the class, [N] bool.
        groups: Which group each example is in.

    Raises:
        QueryError: If there is one group only, or a group has fewer than two positive or two
            negative examples.

    References:
        Hardt et al. (2016), arXiv 1610.02413.
    """
    hits, hits_without = _means(chosen, groups, counted=positive, what="positive examples")
    alarms, alarms_without = _means(chosen, groups, counted=~positive, what="negative examples")
    return LeaveOneOut(
        metric=torch.maximum(gap(hits), gap(alarms)),
        without=torch.maximum(gap(hits_without), gap(alarms_without)),
    )


def _means(values: Tensor, groups: Groups, *, counted: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Return the groups' means of what counts, [G], and the same without each example, [N, G]."""
    number = len(groups.names)
    _require_groups(groups, counted=counted, what=what)
    weight = counted.to(values.dtype)  # [N]
    zeros = values.new_zeros(number)
    sums = zeros.index_add(0, groups.of, values * weight)  # [G]
    counts = zeros.index_add(0, groups.of, weight)  # [G]
    means = sums / counts
    own = (sums[groups.of] - values * weight) / (counts[groups.of] - weight)  # [N]
    without = means.expand(len(values), number).scatter(1, groups.of[:, None], own[:, None])
    return means, without


def _require_groups(groups: Groups, *, counted: Tensor, what: str) -> None:
    names = groups.names
    if len(names) < 2:
        raise QueryError(
            groups.where,
            expected="at least two groups to compare",
            found=f"one: {names[0]}" if names else "none",
            remedy="Name a column that differs between examples, or ask for the plain query.",
        )
    counts = torch.bincount(groups.of[counted], minlength=len(names)).tolist()
    for name, count in zip(names, counts, strict=True):
        if count < 2:
            raise QueryError(
                f"{groups.where}[{name}]",
                expected=f"at least two {what} in each group",
                found=f"{count} in group {name}",
                remedy="Name the groups that are large enough in `groups`, or evaluate more data.",
            )
