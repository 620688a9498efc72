"""Queries at states: values per example, derivatives along a direction, the mean gradient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.query_examples import QueryExamples, query_examples
from auditor.dynamics.query_functions import buffers_of, outputs_of, values_of
from auditor.dynamics.readings import Reading, metric_graph, require_finite_values
from auditor.dynamics.run import Run
from auditor.dynamics.spans import CPU_LANE_WORK
from auditor.dynamics.state import TrainingState
from auditor.effects import DIFFERENTIABLE, Query, QueryKind
from auditor.errors import InternalError, QueryError
from auditor.model.metrics.perplexity import perplexity_gradient
from auditor.plan.footprint import EVALUATED_AT_ONCE


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """A query's values at a state.

    Attributes:
        values: [N] float64.
        ids: [N] int64.
        cluster: [N] int64, equal for what was sampled together; None if the query names no column.
        jackknife: Whether values are jackknife values of a metric, and not about one example each.
    """

    values: Tensor
    ids: Tensor
    cluster: Tensor | None
    jackknife: bool


def query_values_at(
    run: Run, states: Sequence[TrainingState], query: Query, *, chunk: int = EVALUATED_AT_ONCE
) -> tuple[list[Tensor], Tensor]:
    """Return a query's values at final states, [N] float64 a state, and the examples' ids, [N]."""
    found = evaluate(run, [(state, query) for state in states], chunk=chunk)
    return [one.values for one in found], found[0].ids


def evaluate(
    run: Run, asked: Sequence[tuple[TrainingState, Query]], *, chunk: int = EVALUATED_AT_ONCE
) -> list[Evaluation]:
    """Return the values of queries at final states.

    A state passes the examples once for all of its queries, whose values do not depend on one
    another. Small states of few examples pass together, in one ``vmap``.

    Args:
        run: The recorded run; its final graph evaluates.
        asked: States in the final layout, each with a query; all queries look at the same examples
            (equal ``query.selection``). A state that is asked twice is the same object.
        chunk: Examples at once.

    Raises:
        QueryError: If a query does not fit the model or the evaluation set.
        NumericalError: If a value is not finite.
        InternalError: If queries look at different examples.
    """
    selections = [query.selection for _, query in asked]
    if any(selection != selections[0] for selection in selections):
        raise InternalError(
            "group", expected="one selection of examples", found=selections, remedy="Report this."
        )
    queries = {query.model_dump_json(): query for _, query in asked}
    readings = {text: _reading(run, query) for text, query in queries.items()}
    states = list({id(state): state for state, _ in asked}.values())
    wanted = [(id(state), readings[query.model_dump_json()]) for state, query in asked]
    parts: list[list[Tensor]] = [[] for _ in asked]
    examples = wanted[0][1].examples
    for first in range(0, len(examples.target), chunk):
        for of_states in _outputs(run, states, examples, rows=slice(first, first + chunk)):
            for own, (state, reading) in zip(parts, wanted, strict=True):
                if state in of_states:
                    rows = reading.examples.part(slice(first, first + chunk))
                    own.append(reading.part(of_states[state], rows))
    return [
        Evaluation(
            values=reading.values(own),
            ids=reading.examples.ids,
            cluster=reading.examples.cluster,
            jackknife=reading.is_jackknife,
        )
        for own, (_, reading) in zip(parts, wanted, strict=True)
    ]


def _reading(run: Run, query: Query) -> Reading:
    examples = query_examples(run, query)
    return Reading(query=query, examples=examples, graph=metric_graph(run, query))


def _outputs(
    run: Run, states: Sequence[TrainingState], examples: QueryExamples, *, rows: slice
) -> Iterator[dict[int, tuple[Tensor, ...]]]:
    """Yield the final graph's outputs on some examples, a few states at a time, by their id."""
    part = examples.part(rows)
    outputs = outputs_of(run, part)
    together = _states_together(states[0].theta, examples=len(part.target))
    for first in range(0, len(states), together):
        some = states[first : first + together]
        columns = [(state.theta, *buffers_of(state)) for state in some]
        if len(some) == 1:
            yield {id(some[0]): outputs(*columns[0])}
        else:
            stacked = [torch.stack(column) for column in zip(*columns, strict=True)]
            found = torch.func.vmap(outputs)(*stacked)  # [S, n, ...] each
            yield {id(s): tuple(o[i] for o in found) for i, s in enumerate(some)}


def _states_together(theta: Tensor, *, examples: int) -> int:
    """Return how many states evaluate examples in one ``vmap``: no more than fit a full chunk."""
    full = theta.device.type == "cpu" and theta.numel() * examples >= CPU_LANE_WORK
    return 1 if full else max(1, EVALUATED_AT_ONCE // max(1, examples))


def project(
    run: Run, query: Query, direction: TrainingState, *, chunk: int = EVALUATED_AT_ONCE
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


def mean_query_gradient(run: Run, query: Query, *, chunk: int = EVALUATED_AT_ONCE) -> TrainingState:
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


def _gradient_of_parts(
    run: Run, state: TrainingState, query: Query, *, examples: QueryExamples, chunk: int
) -> Tensor:
    """Return the derivative of the query's mean or metric by what ``values_of`` gives, [N]."""
    if query.kind is QueryKind.PERPLEXITY:
        reading = Reading(query=query, examples=examples, graph=None)
        statistics = torch.cat([
            reading.part(outputs_of(run, part)(state.theta, *buffers_of(state)), part)
            for part in examples.chunks(chunk)
        ])
        return perplexity_gradient(*statistics.unbind(dim=-1))
    number = len(examples.target)
    return torch.full((number,), 1 / number, dtype=torch.float64, device=examples.target.device)
