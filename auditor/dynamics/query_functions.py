"""What a query computes, as functions of the final parameters and buffers."""

from collections.abc import Callable

from torch import Tensor

from auditor.dynamics.query_examples import Chunk
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.effects import Query, QueryKind
from auditor.model.queries import query_values


def values_of(run: Run, query: Query, part: Chunk) -> Callable[..., Tensor]:
    """Return (theta, *buffers by sorted name) -> values [N] float64, or parts of a metric."""
    outputs = outputs_of(run, part)
    # The exponential of a mean is differentiated through that mean.
    summed = query.kind is QueryKind.PERPLEXITY
    plain = query.model_copy(update={"kind": QueryKind.LOG_LIKELIHOOD}) if summed else query

    def values(theta: Tensor, *buffers: Tensor) -> Tensor:
        # float64 before exponentials are summed: it costs nothing and the query gains digits.
        output = outputs(theta, *buffers)[query.output].double()
        found = query_values(plain, output, part.target, counts=part.counts)
        return -found if summed else found

    return values


def outputs_of(run: Run, part: Chunk) -> Callable[..., tuple[Tensor, ...]]:
    """Return (theta, *buffers by sorted name) -> the final graph's outputs on some examples."""
    last = len(run.log.stages) - 1
    forward, constants = run.computations(last).forward, run.constants(last)
    names = sorted(run.boundary(last + 1).buffers)

    def outputs(theta: Tensor, *buffers: Tensor) -> tuple[Tensor, ...]:
        named = {**constants, **dict(zip(names, buffers, strict=True))}
        return forward(theta, named, part.inputs)

    return outputs


def buffers_of(state: TrainingState) -> tuple[Tensor, ...]:
    """Return a state's buffers by sorted name, as these functions take them."""
    return tuple(state.buffers[name] for name in sorted(state.buffers))
