"""The examples a query looks at, checked against the final model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.tables import Table, selected_rows
from auditor.effects import BY_GROUP, PER_POSITION, Query, QueryKind
from auditor.errors import QueryError
from auditor.model.metrics.groups import Groups
from auditor.model.queries import class_count, require_class, require_targets

MAX_GROUPS = 256
"""Groups that one query compares."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class QueryExamples:
    """The examples a query looks at.

    Attributes:
        inputs: Graph inputs, [N, *shape] each.
        target: [N], or [N, ...] with a class for each position.
        counts: Which positions count, bool of the target's shape; None: all.
        ids: [N] int64: the column ``id``, else positions in the evaluation set.
        cluster: [N] int64, equal for what was sampled together; None if no column was named.
        groups: Which group each example is in; None for kinds that compare none.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    counts: Tensor | None
    ids: Tensor
    cluster: Tensor | None
    groups: Groups | None

    def chunks(self, size: int) -> Iterator["Chunk"]:
        """Yield parts of at most ``size`` examples."""
        for first in range(0, len(self.target), size):
            yield self.part(slice(first, first + size))

    def part(self, rows: slice) -> "Chunk":
        """Return some of the examples."""
        return Chunk(
            inputs=tuple(tensor[rows] for tensor in self.inputs),
            target=self.target[rows],
            counts=None if self.counts is None else self.counts[rows],
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Some of the examples, as :class:`QueryExamples` holds them."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    counts: Tensor | None


def query_examples(run: Run, query: Query) -> QueryExamples:
    """Return the examples a query looks at, checked against the final model's inputs.

    Raises:
        QueryError: If a column is missing or no example is selected.
    """
    if query.data is None:
        raise QueryError(
            f"query {query.name!r}.data",
            expected="an evaluation set",
            found="none",
            remedy=f"Kind {query.kind} is evaluated by the outside tool that it names.",
        )
    last = len(run.log.stages) - 1
    table = run.evaluation_set(query.data)
    bound = query.inputs or run.log.stages[last].bindings.inputs
    rows = np.arange(table.dataset.examples)
    if query.where is not None:
        rows = rows[selected_rows(table, {query.where.column: (query.where.equals,)})]
    if query.groups is not None and query.group is not None:
        rows = rows[selected_rows(table, {query.group: query.groups})[rows]]
    if len(rows) == 0:
        raise QueryError(
            f"query {query.name!r}.where",
            expected="at least one example",
            found=f"none with {query.where}",
            remedy="Correct the value, or evaluate on all examples.",
        )
    index = torch.from_numpy(rows).to(run.device)
    target = (
        _column(table, query.target, query=query)[index]
        if query.reads_target
        else torch.full_like(index, query.class_ or 0)  # the data need not say what each is
    )
    inputs = tuple(
        _column(table, bound.get(name, name), query=query)[index]
        for name in run.computations(last).inputs
    )
    counts = _counts(run, query, table, index=index, target=target)
    examples = QueryExamples(
        inputs=inputs,
        # What does not count may hold anything, such as -100, which is no class.
        target=target if counts is None else torch.where(counts, target, 0),
        counts=counts,
        ids=table.columns["id"][index].long() if "id" in table.columns else index,
        cluster=None
        if query.cluster is None
        else _single(table, query.cluster, query=query, field="cluster")[index].long(),
        groups=_groups(query, table, index=index) if query.kind in BY_GROUP else None,
    )
    _require_target(run, query, examples)
    return examples


def _counts(
    run: Run, query: Query, table: Table, *, index: Tensor, target: Tensor
) -> Tensor | None:
    """Return which positions of the targets count; None if all of them do.

    Those that ``mask`` selects and whose target is not the one that the final stage's loss ignores.
    """
    if query.kind not in PER_POSITION or target.dim() < 2:
        if query.mask is None:
            return None
        raise QueryError(
            f"query {query.name!r}.mask",
            expected="a query over the positions of an example, such as log_likelihood of tokens",
            found=f"kind {query.kind} with one target for each example",
            remedy="Select whole examples with `where`.",
        )
    ignored = run.log.stages[-1].loss.ignore_index
    counts = torch.ones_like(target, dtype=torch.bool) if ignored is None else target != ignored
    if query.mask is not None:
        mask = _column(table, query.mask, query=query)[index]
        if mask.shape != target.shape:
            raise QueryError(
                f"query {query.name!r}.mask",
                expected=f"one value for each position of {query.target!r}, "
                f"{list(target.shape[1:])}",
                found=f"{query.mask!r} of shape {list(mask.shape[1:])}",
                remedy="Name a column of zeros and ones of the target's shape.",
            )
        counts = counts & (mask != 0)
    empty = ~counts.flatten(1).any(dim=1)
    if bool(empty.any()):
        raise QueryError(
            f"query {query.name!r}.{'target' if query.mask is None else 'mask'}",
            expected="at least one position that counts in every example",
            found=f"none in row {int(index[empty][0])}",
            remedy="Correct the column, or leave such examples out with `where`.",
        )
    return None if bool(counts.all()) else counts


def _groups(query: Query, table: Table, *, index: Tensor) -> Groups:
    """Return the groups that a query compares: those it names, or all that the column can hold."""
    where = f"query {query.name!r}.group"
    if query.group is None:
        raise QueryError(
            where,
            expected="the column whose values are compared",
            found="none",
            remedy="Name it, such as `group: sex`.",
        )
    codes = _single(table, query.group, query=query, field="group")[index].long()
    categories = table.dataset.columns[query.group].categories
    if query.groups is not None:
        wanted = [
            categories.index(name) if categories is not None and isinstance(name, str) else name
            for name in query.groups
        ]
        known = torch.tensor([int(code) for code in wanted], device=codes.device)
    elif categories is not None:
        known = torch.arange(len(categories), device=codes.device)
    else:
        known = torch.unique(codes)
    if len(known) > MAX_GROUPS:
        raise QueryError(
            where,
            expected=f"at most {MAX_GROUPS} groups",
            found=f"{len(known)} in column {query.group!r}",
            remedy="Name the ones to compare in `groups`, or a column with fewer values.",
        )
    names = [str(int(code)) if categories is None else categories[int(code)] for code in known]
    return Groups(
        of=(codes[:, None] == known).long().argmax(dim=1),
        names=names,
        where=f"{where} {query.group!r}",
    )


def _column(table: Table, name: str, *, query: Query) -> Tensor:
    if name not in table.columns:
        raise QueryError(
            f"query {query.name!r}: {table.name}.columns[{name}]",
            expected="one of " + ", ".join(sorted(table.columns)),
            found=name,
            remedy="Bind the query's inputs and target to columns of its evaluation set.",
        )
    return table.columns[name]


def _single(table: Table, name: str, *, query: Query, field: str) -> Tensor:
    """Return a column of one whole number or text per example."""
    column = _column(table, name, query=query)
    if column.dim() != 1 or column.is_floating_point():
        raise QueryError(
            f"query {query.name!r}.{field}",
            expected="a column of one text or whole number per example",
            found=f"{name!r} of {table.dataset.columns[name].dtype}{list(column.shape[1:])}",
            remedy="Name a column such as `source` or `group`.",
        )
    return column


def _require_target(run: Run, query: Query, examples: QueryExamples) -> None:
    """Refuse outputs, classes and targets that the final model does not have."""
    last = len(run.log.stages) - 1
    final = run.boundary(last + 1)
    outputs = run.computations(last).forward(
        final.theta,
        {**run.constants(last), **final.buffers},
        tuple(tensor[:1] for tensor in examples.inputs),
    )
    if query.output >= len(outputs):
        raise QueryError(
            f"query {query.name!r}.output",
            expected=f"one of {len(outputs)} outputs, from 0",
            found=query.output,
            remedy="Name an output that the final stage's graph has.",
        )
    if query.kind is QueryKind.METRIC:
        return  # the graph says what it takes
    shape = tuple(outputs[query.output].shape)
    classes = class_count(query, shape)
    require_class(query, classes=classes)
    require_targets(query, examples.target, classes=classes, positions=shape[1:-1])
