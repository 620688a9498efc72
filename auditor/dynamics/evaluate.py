"""Queries at states: values per example, derivatives along a direction, the mean gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.query_examples import QueryExamples, query_examples
from auditor.dynamics.query_functions import buffers_of, outputs_of, values_of
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.effects import AGGREGATES, DIFFERENTIABLE, Query, QueryKind
from auditor.errors import NumericalError, QueryError
from auditor.model.aggregates import metric_of, statistics_of
from auditor.model.metric_graph import MetricGraph
from auditor.model.metrics.perplexity import perplexity_gradient

CHUNK_EXAMPLES = 512
"""How many examples are evaluated at once; values do not depend on it but by rounding."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A query's values at some states.

    Attributes:
        values: [N] float64 a state.
        ids: [N] int64.
        cluster: [N] int64, equal for what was sampled together; None if the query names no column.
        jackknife: Whether values are jackknife values of a metric, and not about one example each.
    """

    values: list[Tensor]
    ids: Tensor
    cluster: Tensor | None
    jackknife: bool


def query_values_at(
    run: Run, states: Sequence[TrainingState], query: Query, *, chunk: int = CHUNK_EXAMPLES
) -> tuple[list[Tensor], Tensor]:
    """Return a query's values at final states, [N] float64 a state, and the examples' ids, [N]."""
    found = evaluate(run, states, query, chunk=chunk)
    return found.values, found.ids


def evaluate(
    run: Run, states: Sequence[TrainingState], query: Query, *, chunk: int = CHUNK_EXAMPLES
) -> Evaluation:
    """Return a query's values at final states.

    One state after the other, so that a state's values do not depend on its company.

    Args:
        run: The recorded run; its final graph evaluates.
        states: In the final layout.
        query: What is asked.
        chunk: Examples at once.

    Raises:
        QueryError: If the query does not fit the model or the evaluation set.
        NumericalError: If a value is not finite.
    """
    examples = query_examples(run, query)
    graph = _metric_graph(run, query) if query.kind is QueryKind.METRIC else None
    values = [
        _metric_values(run, state, query, examples=examples, chunk=chunk)
        if graph is None
        else _graph_values(run, state, query, examples=examples, graph=graph, chunk=chunk)
        for state in states
    ]
    for state_values in values:
        require_finite_values(state_values, query=query)
    return Evaluation(
        values=values,
        ids=examples.ids,
        cluster=examples.cluster,
        jackknife=query.kind in AGGREGATES or (graph is not None and not graph.per_example),
    )


def project(
    run: Run, query: Query, direction: TrainingState, *, chunk: int = CHUNK_EXAMPLES
) -> tuple[Tensor, Tensor]:
    """Return the derivative of a query's values at the final state along a direction.

    Of a metric that is no mean, numbers whose mean is the derivative of the metric.

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
    primals, tangents = (final.theta, *buffers_of(final)), (direction.theta, *buffers_of(direction))
    parts = []
    for part in examples.chunks(chunk):
        function = values_of(run, query, part)
        parts.append(torch.func.jvp(function, primals, tangents)[1])
    values = torch.cat(parts)
    if query.kind is QueryKind.PERPLEXITY:
        weights = _gradient_of_parts(run, final, query, examples=examples, chunk=chunk)
        values = len(weights) * weights * values
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
    point = (final.theta, *buffers_of(final))
    total = [torch.zeros_like(tensor) for tensor in point]
    weights = _gradient_of_parts(run, final, query, examples=examples, chunk=chunk)  # [N]
    for part, weight in zip(examples.chunks(chunk), torch.split(weights, chunk), strict=True):
        function = values_of(run, query, part)
        pulled = torch.func.vjp(function, *point)  # values [n] and the function that pulls back
        gradients = pulled[1](weight)
        total = [t + g for t, g in zip(total, gradients, strict=True)]
    return TrainingState(
        theta=total[0],
        slots={slot: torch.zeros_like(values) for slot, values in final.slots.items()},
        buffers=dict(zip(sorted(final.buffers), total[1:], strict=True)),
    )


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


def _metric_values(
    run: Run, state: TrainingState, query: Query, *, examples: QueryExamples, chunk: int
) -> Tensor:
    """Return values [N]: the examples' own, or jackknife values of a metric."""
    if query.kind not in AGGREGATES:
        return torch.cat([
            values_of(run, query, part)(state.theta, *buffers_of(state))
            for part in examples.chunks(chunk)
        ])
    statistics = _statistics(run, state, query, examples=examples, chunk=chunk)
    return metric_of(query, statistics, groups=examples.groups).values


def _statistics(
    run: Run, state: TrainingState, query: Query, *, examples: QueryExamples, chunk: int
) -> Tensor:
    """Return what a metric needs to know of each example, [N, S], finite."""
    parts = []
    for part in examples.chunks(chunk):
        output = outputs_of(run, query, part)(state.theta, *buffers_of(state))
        require_finite_values(output.reshape(len(output), -1).sum(dim=1), query=query)
        parts.append(statistics_of(query, output, part.target, counts=part.counts))
    return torch.cat(parts)


def _graph_values(
    run: Run,
    state: TrainingState,
    query: Query,
    *,
    examples: QueryExamples,
    graph: MetricGraph,
    chunk: int,
) -> Tensor:
    """Return the values of a user's metric graph, [N]."""
    parts = list(examples.chunks(chunk))
    outputs = (outputs_of(run, query, part)(state.theta, *buffers_of(state)) for part in parts)
    if graph.per_example:
        return torch.cat([
            graph.values(output, part.target) for output, part in zip(outputs, parts, strict=True)
        ])
    return graph.jackknife(torch.cat(list(outputs)), examples.target)


def _metric_graph(run: Run, query: Query) -> MetricGraph:
    where = f"query {query.name!r}"
    if query.metric is None:
        raise QueryError(
            f"{where}.metric",
            expected="the digest of an ONNX graph (output, target) -> value",
            found="none",
            remedy="Name the file of the metric's graph.",
        )
    digest = query.metric
    return run.keep(
        ("metric graph", digest),
        lambda: MetricGraph(run.read(digest, where=f"{where}.metric"), where=where),
    )


def _gradient_of_parts(
    run: Run, state: TrainingState, query: Query, *, examples: QueryExamples, chunk: int
) -> Tensor:
    """Return the derivative of the query's mean or metric by what ``values_of`` gives, [N]."""
    if query.kind is QueryKind.PERPLEXITY:
        statistics = _statistics(run, state, query, examples=examples, chunk=chunk)
        return perplexity_gradient(*statistics.unbind(dim=-1))
    number = len(examples.target)
    return torch.full((number,), 1 / number, dtype=torch.float64, device=examples.target.device)
