"""What a query reads off the final model's outputs, chunk by chunk, then over all examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.query_examples import Chunk, QueryExamples
from auditor.dynamics.run import Run
from auditor.effects import AGGREGATES, Query, QueryKind
from auditor.errors import NumericalError, QueryError
from auditor.model.aggregates import metric_of, statistics_of
from auditor.model.metric_graph import MetricGraph
from auditor.model.queries import query_values


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A query and the examples that it looks at.

    Attributes:
        query: What is asked.
        examples: Of the query; queries with equal ``query.selection`` look at the same.
        graph: Of a metric that a user brings.
    """

    query: Query
    examples: QueryExamples
    graph: MetricGraph | None

    @property
    def is_jackknife(self) -> bool:
        """Whether values are jackknife values of a metric, and not about one example each."""
        own_metric = self.graph is not None and not self.graph.per_example
        return self.query.kind in AGGREGATES or own_metric

    def part(self, outputs: Sequence[Tensor], chunk: Chunk) -> Tensor:
        """Return what is kept of a chunk, [n, ...]: values, statistics or the output itself.

        Args:
            outputs: Of the model on the chunk's inputs, [n, ...] each.
            chunk: Some of the examples.
        """
        # float64 before exponentials are summed: it costs nothing and the query gains digits.
        output = outputs[self.query.output].double()
        if self.graph is not None:
            return self.graph.values(output, chunk.target) if self.graph.per_example else output
        if self.query.kind not in AGGREGATES:
            return query_values(self.query, output, chunk.target, counts=chunk.counts)
        require_finite_values(output.reshape(len(output), -1).sum(dim=1), query=self.query)
        return statistics_of(self.query, output, chunk.target, counts=chunk.counts)

    def values(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the query's values from the parts of all chunks, [N] float64.

        Raises:
            NumericalError: If one is not finite.
        """
        found = torch.cat(list(parts))
        if self.graph is not None and not self.graph.per_example:
            found = self.graph.jackknife(found, self.examples.target)
        elif self.query.kind in AGGREGATES:
            found = metric_of(self.query, found, groups=self.examples.groups).values
        require_finite_values(found, query=self.query)
        return found


def metric_graph(run: Run, query: Query) -> MetricGraph | None:
    """Return the graph of a metric that a user brings; None for every other kind.

    Raises:
        QueryError: If the query does not say which.
    """
    if query.kind is not QueryKind.METRIC:
        return None
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
