"""Queries at states: values per example, derivatives along a direction, the mean gradient."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.tables import Table, selected_rows
from auditor.effects import DIFFERENTIABLE, Query
from auditor.errors import NumericalError, QueryError
from auditor.model.queries import class_count, query_values, require_targets

CHUNK_EXAMPLES = 512
"""How many examples are evaluated at once; values do not depend on it but by rounding."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class QueryExamples:
    """The examples a query looks at.

    Attributes:
        inputs: Graph inputs, [N, *shape] each.
        target: [N], or [N, ...] with a class for each position.
        ids: [N] int64: the column ``id``, else positions in the evaluation set.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    ids: Tensor

    def chunks(self, size: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Yield (inputs, target) of at most ``size`` examples."""
        for first in range(0, len(self.target), size):
            part = slice(first, first + size)
            yield tuple(tensor[part] for tensor in self.inputs), self.target[part]


def query_values_at(
    run: Run, states: Sequence[TrainingState], query: Query, *, chunk: int = CHUNK_EXAMPLES
) -> tuple[list[Tensor], Tensor]:
    """Return a query's values at final states.

    One state after the other, so that a state's values do not depend on its company.

    Args:
        run: The recorded run; its final graph evaluates.
        states: In the final layout.
        query: What is asked.
        chunk: Examples at once.

    Returns:
        One tensor [N] float64 a state, and the ids of the examples, [N] int64.

    Raises:
        QueryError: If the query does not fit the model or the evaluation set.
        NumericalError: If a value is not finite.
    """
    examples = query_examples(run, query)
    values = [
        torch.cat([
            _values_of(run, query, inputs=inputs, target=target)(state.theta, *_buffers(state))
            for inputs, target in examples.chunks(chunk)
        ])
        for state in states
    ]  # fmt: skip
    for state_values in values:
        require_finite_values(state_values, query=query)
    return values, examples.ids


def project(
    run: Run, query: Query, direction: TrainingState, *, chunk: int = CHUNK_EXAMPLES
) -> tuple[Tensor, Tensor]:
    """Return the derivative of a query's values at the final state along a direction.

    Args:
        run: The recorded run.
        query: What is asked; it must have a gradient.
        direction: A tangent of the final state, such as a stage embedding.
        chunk: Examples at once.

    Returns:
        [N] float64 and the ids of the examples.

    Raises:
        QueryError: If the query has no gradient or does not fit.
    """
    require_differentiable(query)
    examples = query_examples(run, query)
    final = run.boundary(len(run.log.stages))
    primals, tangents = (final.theta, *_buffers(final)), (direction.theta, *_buffers(direction))
    parts = []
    for inputs, target in examples.chunks(chunk):
        function = _values_of(run, query, inputs=inputs, target=target)
        parts.append(torch.func.jvp(function, primals, tangents)[1])
    values = torch.cat(parts)
    require_finite_values(values, query=query)
    return values, examples.ids


def mean_query_gradient(run: Run, query: Query, *, chunk: int = CHUNK_EXAMPLES) -> TrainingState:
    """Return the gradient of a query's mean value at the final state.

    Args:
        run: The recorded run.
        query: What is asked; it must have a gradient.
        chunk: Examples at once.

    Returns:
        A cotangent of the final state: gradients for theta and buffers, zeros for the optimizer,
        which no query reads.

    Raises:
        QueryError: If the query has no gradient or does not fit.
    """
    require_differentiable(query)
    examples = query_examples(run, query)
    final = run.boundary(len(run.log.stages))
    point = (final.theta, *_buffers(final))
    total = [torch.zeros_like(tensor) for tensor in point]
    for inputs, target in examples.chunks(chunk):
        function = _values_of(run, query, inputs=inputs, target=target)
        pulled = torch.func.vjp(function, *point)  # values [n] and the function that pulls back
        gradients = pulled[1](torch.full_like(pulled[0], 1 / len(examples.target)))
        total = [t + g for t, g in zip(total, gradients, strict=True)]
    return TrainingState(
        theta=total[0],
        slots={slot: torch.zeros_like(values) for slot, values in final.slots.items()},
        buffers=dict(zip(sorted(final.buffers), total[1:], strict=True)),
    )


def query_examples(run: Run, query: Query) -> QueryExamples:
    """Return the examples a query looks at, checked against the final model's inputs.

    Raises:
        QueryError: If a column is missing or no example is selected.
    """
    last = len(run.log.stages) - 1
    table = run.evaluation_set(query.data)
    bound = query.inputs or run.log.stages[last].bindings.inputs
    rows = np.arange(table.dataset.examples)
    if query.where is not None:
        rows = rows[selected_rows(table, {query.where.column: (query.where.equals,)})]
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
        if query.class_ is None
        else torch.full_like(index, query.class_)  # the data need not say what each example is
    )
    inputs = tuple(
        _column(table, bound.get(name, name), query=query)[index]
        for name in run.computations(last).inputs
    )
    ids = table.columns["id"][index].long() if "id" in table.columns else index
    examples = QueryExamples(inputs=inputs, target=target, ids=ids)
    _require_target(run, query, examples)
    return examples


def require_differentiable(query: Query) -> None:
    """Refuse queries without a gradient.

    Raises:
        QueryError: If the query is one of them.
    """
    if query.kind not in DIFFERENTIABLE:
        raise QueryError(
            f"query {query.name!r}.kind",
            expected="one of " + ", ".join(sorted(DIFFERENTIABLE)),
            found=query.kind,
            remedy="Use another estimator for it, or ask for the margin.",
        )


def require_finite_values(values: Tensor, *, query: Query) -> None:
    """Refuse non-finite values of a query.

    Raises:
        NumericalError: If there are any; the first is named.
    """
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise NumericalError(
            f"query {query.name!r}[{row}]",
            expected="a finite value",
            found=values[row].item(),
            remedy="Check the evaluation set for inputs that overflow the model.",
        )


def _values_of(
    run: Run, query: Query, *, inputs: tuple[Tensor, ...], target: Tensor
) -> Callable[..., Tensor]:
    """Return (theta, *buffers by sorted name) -> values [N] float64."""
    last = len(run.log.stages) - 1
    forward, constants = run.computations(last).forward, run.constants(last)
    names = sorted(run.boundary(last + 1).buffers)

    def values(theta: Tensor, *buffers: Tensor) -> Tensor:
        named = {**constants, **dict(zip(names, buffers, strict=True))}
        outputs = forward(theta, named, inputs)
        # float64 before exponentials are summed: it costs nothing and the query gains digits.
        return query_values(query, outputs[query.output].double(), target)

    return values


def _buffers(state: TrainingState) -> tuple[Tensor, ...]:
    return tuple(state.buffers[name] for name in sorted(state.buffers))


def _column(table: Table, name: str, *, query: Query) -> Tensor:
    if name not in table.columns:
        raise QueryError(
            f"query {query.name!r}: {table.name}.columns[{name}]",
            expected="one of " + ", ".join(sorted(table.columns)),
            found=name,
            remedy="Bind the query's inputs and target to columns of its evaluation set.",
        )
    return table.columns[name]


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
    shape = tuple(outputs[query.output].shape)
    classes = class_count(query, shape)
    require_targets(query, examples.target, classes=classes, positions=shape[1:-1])
