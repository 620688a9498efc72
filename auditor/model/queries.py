"""Values of a query on the outputs of the final model."""

from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional

from auditor.effects import PER_POSITION, Query, QueryKind
from auditor.errors import QueryError, UnsupportedError

_BY_CLASS = frozenset({QueryKind.LOGIT, QueryKind.MARGIN, QueryKind.PROBABILITY})


def query_values(query: Query, output: Tensor, target: Tensor) -> Tensor:
    """Return the query's value on each example, [N], in the query's unit.

    - ``loss``: cross entropy of the target, in nats.
    - ``logit``, ``margin``, ``probability`` of the query's class, or of each example's target;
      a margin is that logit minus the log-sum-exp of the others.
    - ``accuracy``: 1 where the target has the largest logit (of equal ones the first), else 0.

    Of logits [N, ..., C] with a class for every position of an example (the tokens of a text),
    ``loss`` and ``accuracy`` are averaged over the positions.

    A model with one output per example, [N] or [N, 1], is a binary classifier whose output is the
    log-odds of class 1: logits are (0, output), except that ``logit`` is the log-odds of the class
    asked for, which is what ``margin`` is.

    Differentiable (but for accuracy) and safe inside ``vmap``. Targets are not checked here, where
    they may be traced: see :func:`require_targets`.

    Args:
        query: Kind and class.
        output: Logits, [N, C] or [N, ..., C], or log-odds, [N] or [N, 1].
        target: Class of each example, [N], or of each position, [N, ...].

    Raises:
        QueryError: If the query's class is not one of the model's, or the kind takes no class.
        UnsupportedError: If the output is no row of logits per example.
    """
    classes = class_count(query, tuple(output.shape))
    require_class(query, classes=classes)
    if output.dim() > 2:
        rows = query_values(query, output.flatten(0, -2), target.flatten())  # [N * positions]
        return rows.reshape(output.shape[0], -1).mean(dim=-1)
    single = output.dim() == 1 or output.shape[-1] == 1
    if single:
        odds = output.reshape(output.shape[0])
        output = torch.stack([torch.zeros_like(odds), odds], dim=-1)  # [N, 2]
    chosen = torch.full_like(target, query.class_) if query.class_ is not None else target
    index = chosen.long().unsqueeze(-1)  # [N, 1]
    match query.kind:
        case QueryKind.LOSS:
            return -_chosen(functional.log_softmax(output, dim=-1), index)
        case QueryKind.PROBABILITY:
            return _chosen(functional.softmax(output, dim=-1), index)
        case QueryKind.LOGIT:
            return _margin(output, index) if single else _chosen(output, index)
        case QueryKind.MARGIN:
            return _margin(output, index)
        case QueryKind.ACCURACY:
            return (output.argmax(dim=-1) == index.squeeze(-1)).to(output.dtype)
        case _:
            assert_never(query.kind)


def class_count(query: Query, shape: tuple[int, ...]) -> int:
    """Return how many classes an output of this shape tells apart.

    Raises:
        UnsupportedError: If the output is no row of logits per example, or per position for a
            kind that is averaged over them.
    """
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return 2
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
        QueryError: If the class is out of range, or the kind takes no class.
    """
    if query.class_ is None:
        return
    if query.kind not in _BY_CLASS:
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
    if query.class_ is not None:
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


def _chosen(rows: Tensor, index: Tensor) -> Tensor:
    return rows.gather(-1, index).squeeze(-1)


def _margin(logits: Tensor, index: Tensor) -> Tensor:
    own = torch.arange(logits.shape[-1], device=logits.device) == index  # [N, C]
    others = torch.where(own, float("-inf"), logits)
    return _chosen(logits, index) - torch.logsumexp(others, dim=-1)
