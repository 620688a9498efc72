"""Queries that are no mean over examples: what each example adds, and the metric of them all."""

import torch
from torch import Tensor

from auditor.effects import BY_GROUP, Query, QueryKind
from auditor.errors import InternalError, QueryError
from auditor.model.metrics.auroc import auroc
from auditor.model.metrics.calibration import expected_calibration_error
from auditor.model.metrics.groups import (
    Groups,
    equalised_odds,
    gap,
    highest,
    lowest,
    over_groups,
)
from auditor.model.metrics.jackknife import LeaveOneOut
from auditor.model.metrics.perplexity import perplexity
from auditor.model.queries import as_two_classes, query_values


def statistics_of(
    query: Query, output: Tensor, target: Tensor, *, counts: Tensor | None = None
) -> Tensor:
    """Return what the metric needs to know of each example, [N, S]; S depends on the kind.

    - ``auroc``: log-odds of the class, and 1 where it is the target.
    - ``ece``: probability of the class, and 1 where it is the target; without a class those of the
      most likely one.
    - ``accuracy_gap``, ``worst_group``: accuracy, or loss.
    - ``demographic_parity``, ``equalised_odds``: 1 where the class is predicted, and 1 where it is
      the target.
    - ``perplexity``: summed loss, and the number of positions.

    Args:
        query: One of :data:`auditor.effects.AGGREGATES`.
        output: As for :func:`auditor.model.queries.query_values`.
        target: The same.
        counts: The same.
    """

    def valued(kind: QueryKind, class_: int | None = None) -> Tensor:
        plain = query.model_copy(update={"kind": kind, "class_": class_})
        return query_values(plain, output, target, counts=counts)

    chosen = _class_asked(query)
    match query.kind:
        case QueryKind.PERPLEXITY:
            surprise = -valued(QueryKind.LOG_LIKELIHOOD)
            number = torch.ones_like(target) if counts is None else counts
            tokens = number.reshape(len(target), -1).sum(dim=-1).to(surprise.dtype)
            return torch.stack([surprise, tokens], dim=-1)
        case QueryKind.ACCURACY_GAP:
            return valued(QueryKind.ACCURACY)[:, None]
        case QueryKind.WORST_GROUP:
            loss = query.measure == "loss"
            return valued(QueryKind.LOSS if loss else QueryKind.ACCURACY)[:, None]
        case QueryKind.AUROC:
            return torch.stack(
                [valued(QueryKind.MARGIN, chosen), (target == chosen).to(output.dtype)], dim=-1
            )
        case QueryKind.ECE if query.class_ is None:
            confidence, predicted = torch.softmax(as_two_classes(output), dim=-1).max(dim=-1)
            return torch.stack([confidence, (predicted == target).to(output.dtype)], dim=-1)
        case QueryKind.ECE:
            return torch.stack(
                [
                    valued(QueryKind.PROBABILITY, chosen),
                    (target == chosen).to(output.dtype),
                ],
                dim=-1,
            )
        case QueryKind.DEMOGRAPHIC_PARITY | QueryKind.EQUALISED_ODDS:
            predicted = as_two_classes(output).argmax(dim=-1)
            return torch.stack(
                [(predicted == chosen).to(output.dtype), (target == chosen).to(output.dtype)],
                dim=-1,
            )
        case _:
            raise _no_aggregate(query)


def metric_of(query: Query, statistics: Tensor, *, groups: Groups | None) -> LeaveOneOut:
    """Return the metric of all examples, and without each of them.

    Args:
        query: One of :data:`auditor.effects.AGGREGATES`.
        statistics: From :func:`statistics_of`, [N, S].
        groups: Which group each example is in; for kinds that compare groups.

    Raises:
        QueryError: If there are too few examples, classes or groups for the metric and its error.
    """
    where = f"query {query.name!r}"
    if len(statistics) < 2:
        raise QueryError(
            f"{where}.data",
            expected=f"at least two examples for {query.kind}",
            found=len(statistics),
            remedy="Evaluate on more data.",
        )
    if query.kind in BY_GROUP:
        if groups is None:
            raise _no_aggregate(query)
        return _of_groups(query, statistics, groups)
    first, second = statistics.unbind(dim=-1)
    match query.kind:
        case QueryKind.PERPLEXITY:
            return perplexity(first, second)
        case QueryKind.AUROC:
            return auroc(first, second > 0, where=where)
        case QueryKind.ECE:
            if query.bins is None:
                raise _no_aggregate(query)
            return expected_calibration_error(first, second, bins=query.bins)
        case _:
            raise _no_aggregate(query)


def _of_groups(query: Query, statistics: Tensor, groups: Groups) -> LeaveOneOut:
    first = statistics[:, 0]
    match query.kind:
        case QueryKind.EQUALISED_ODDS:
            return equalised_odds(first, statistics[:, 1] > 0, groups)
        case QueryKind.WORST_GROUP:
            combine = highest if query.measure == "loss" else lowest
            return over_groups(first, groups, combine=combine)
        case _:
            return over_groups(first, groups, combine=gap)


def _class_asked(query: Query) -> int:
    """Return the class; of two classes that is 1 unless the query says otherwise."""
    return 1 if query.class_ is None else query.class_


def _no_aggregate(query: Query) -> InternalError:
    return InternalError(
        "query.kind",
        expected="a metric of a whole evaluation set with its settings",
        found=query.kind,
        remedy="Report this as a bug.",
    )
