"""Values of a query on the outputs of the final model."""

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from auditor.effects import NEEDS_CLASS, PER_POSITION, TAKES_CLASS, Query, QueryKind
from auditor.errors import InternalError, QueryError, UnsupportedError


def query_values(
    query: Query, output: Tensor, target: Tensor, *, counts: Tensor | None = None
) -> Tensor:
    """Return the query's value on each example, [N], in the query's unit.

    - ``loss``: cross entropy of the target, in nats; ``log_likelihood``: its negative.
    - ``logit``, ``margin``, ``probability`` of the query's class, or of each example's target;
      a margin is that logit minus the log-sum-exp of the others.
    - ``accuracy``: 1 where the target has the largest logit (of equal ones the first), else 0.
    - ``score``: the output itself, [N] or column ``class_`` of [N, K].

    Of logits [N, ..., C] with a class for every position of an example (the tokens of a text),
    ``loss`` and ``accuracy`` are averaged over the positions that count, and ``log_likelihood`` is
    their sum.

    A model with one output per example, [N] or [N, 1], is a binary classifier whose output is the
    log-odds of class 1: logits are (0, output), except that ``logit`` is the log-odds of the class
    asked for, which is what ``margin`` is.

    Differentiable (but for accuracy) and safe inside ``vmap``. Targets are not checked here, where
    they may be traced: see :func:`require_targets`.

    Args:
        query: Kind and class.
        output: Logits, [N, C] or [N, ..., C], or log-odds, [N] or [N, 1].
        target: Class of each example, [N], or of each position, [N, ...].
        counts: Which positions count, [N, ...] bool, at least one in each example; None: all.

    Raises:
        QueryError: If the query's class is not one of the model's, or the kind takes no class.
        UnsupportedError: If the output is no row of logits per example.
    """
    classes = class_count(query, tuple(output.shape))
    require_class(query, classes=classes)
    if output.dim() > 2:
        rows = query_values(query, output.flatten(0, -2), target.flatten())  # [N * positions]
        return _over_positions(query, rows.reshape(output.shape[0], -1), counts=counts)
    if query.kind is QueryKind.SCORE:
        return output.reshape(output.shape[0], -1)[:, query.class_ or 0]
    single = output.dim() == 1 or output.shape[-1] == 1
    output = as_two_classes(output)
    chosen = torch.full_like(target, query.class_) if query.class_ is not None else target
    index = chosen.long().unsqueeze(-1)  # [N, 1]
    match query.kind:
        case QueryKind.LOSS:
            return -_chosen(functional.log_softmax(output, dim=-1), index)
        case QueryKind.LOG_LIKELIHOOD:
            return _chosen(functional.log_softmax(output, dim=-1), index)
        case QueryKind.PROBABILITY:
            return _chosen(functional.softmax(output, dim=-1), index)
        case QueryKind.LOGIT:
            return _margin(output, index) if single else _chosen(output, index)
        case QueryKind.MARGIN:
            return _margin(output, index)
        case QueryKind.ACCURACY:
            return (output.argmax(dim=-1) == index.squeeze(-1)).to(output.dtype)
        case (
            QueryKind.PERPLEXITY
            | QueryKind.AUROC
            | QueryKind.ECE
            | QueryKind.ACCURACY_GAP
            | QueryKind.DEMOGRAPHIC_PARITY
            | QueryKind.EQUALISED_ODDS
            | QueryKind.WORST_GROUP
            | QueryKind.METRIC
            | QueryKind.OUTSIDE
        ):
            raise InternalError(
                "query.kind",
                expected="a kind with a value of its own for each example",
                found=query.kind,
                remedy="Report this as a bug.",
            )
        case _:
            assert_never(query.kind)


def as_two_classes(output: Tensor) -> Tensor:
    """Return logits [N, C]; log-odds [N] or [N, 1] become (0, log-odds)."""
    if output.dim() > 1 and output.shape[-1] > 1:
        return output
    odds = output.reshape(output.shape[0])
    return torch.stack([torch.zeros_like(odds), odds], dim=-1)


def class_count(query: Query, shape: tuple[int, ...]) -> int:
    """Return how many classes an output of this shape tells apart; of a score, its columns.

    Raises:
        UnsupportedError: If the output is no row of logits per example, or per position for a
            kind that is averaged over them.
    """
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return 1 if query.kind is QueryKind.SCORE else 2
    if len(shape) > 2 and query.kind in PER_POSITION:
        return max(2, shape[-1])
    if len(shape) != 2:
        raise UnsupportedError(
            f"query {query.name!r}: output {query.output}",
            expected="logits [N, C], or log-odds [N]",
            found=f"shape {shape}",
            remedy="Let the query name the output of the graph that holds one row per example.",
        )
    return shape[1]


def require_class(query: Query, *, classes: int) -> None:
    """Refuse a query for a class that the model does not have.

    Raises:
        QueryError: If the class is out of range, is missing, or the kind takes no class.
    """
    if query.class_ is None:
        if query.kind in NEEDS_CLASS and classes > (1 if query.kind is QueryKind.SCORE else 2):
            raise QueryError(
                f"query {query.name!r}.class",
                expected=f"one of {classes} classes, from 0 to {classes - 1}, for {query.kind}",
                found="none",
                remedy="Say which class the query is about.",
            )
        return
    if query.kind not in TAKES_CLASS:
        raise QueryError(
            f"query {query.name!r}.class",
            expected=f"no class for kind {query.kind}",
            found=query.class_,
            remedy="Use `where` to select examples of one class.",
        )
    if query.class_ >= classes:
        raise QueryError(
            f"query {query.name!r}.class",
            expected=f"one of {classes} classes, from 0 to {classes - 1}",
            found=f"class {query.class_}",
            remedy="Correct the class; the model has no such output.",
        )


def require_targets(
    query: Query, target: Tensor, *, classes: int, positions: tuple[int, ...] = ()
) -> None:
    """Refuse targets that are no class of the model; call it outside of transforms.

    Args:
        query: Its kind and class say whether targets matter.
        target: Class of each example, [N], or of each of its positions, [N, *positions].
        classes: Number of classes, from :func:`class_count`.
        positions: Axes of the output between examples and classes.

    Raises:
        QueryError: If a target is out of range or no whole number; the first is named.
    """
    if not query.reads_target:
        return
    if tuple(target.shape[1:]) != positions:
        raise QueryError(
            f"query {query.name!r}.target",
            expected=f"one class for each of {list(positions)} positions of an example"
            if positions
            else "one class per example",
            found=f"shape {tuple(target.shape)}",
            remedy="Name the column that holds the class of each example.",
        )
    wrong = (target < 0) | (target >= classes) | (target != target.long())
    if bool(wrong.any()):
        first = wrong.nonzero()[0].tolist()
        raise QueryError(
            f"query {query.name!r}: {query.target}{first}",
            expected=f"one of {classes} classes, from 0 to {classes - 1}",
            found=target[tuple(first)].item(),
            remedy="Check the target column of the evaluation set.",
        )


def _over_positions(query: Query, rows: Tensor, *, counts: Tensor | None) -> Tensor:
    """Return [N] from the values at all positions, [N, positions]."""
    weight = torch.ones_like(rows) if counts is None else counts.flatten(1).to(rows.dtype)
    # A position that does not count may hold anything, an infinite loss too: 0 times that is NaN.
    summed = torch.where(weight > 0, rows, 0).sum(dim=-1)
    return summed if query.kind is QueryKind.LOG_LIKELIHOOD else summed / weight.sum(dim=-1)


def _chosen(rows: Tensor, index: Tensor) -> Tensor:
    return rows.gather(-1, index).squeeze(-1)


def _margin(logits: Tensor, index: Tensor) -> Tensor:
    own = torch.arange(logits.shape[-1], device=logits.device) == index  # [N, C]
    others = torch.where(own, float("-inf"), logits)
    return _chosen(logits, index) - torch.logsumexp(others, dim=-1)
