"""Values that a program of the requester measures, not this library."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from auditor.audit.questions import Row
from auditor.audit.results import BlobValues
from auditor.effects import Probe, QueryKind, Tool
from auditor.errors import QueryError
from auditor.estimators.base import Estimator, Floats
from auditor.plan.actions import Evaluate
from auditor.plan.request import AuditRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class OutsideValues:
    """What a tool says of a checkpoint.

    Attributes:
        values: [N] float64, finite, in the order of the ids.
        ids: [N] int64, ascending, each once.
    """

    values: Floats
    ids: npt.NDArray[np.int64]


class OutsideEvaluator(Protocol):
    """Runs tools; whoever starts an audit decides which, if any."""

    def evaluate(self, tool: Tool, checkpoint: bytes) -> OutsideValues:
        """Return what a tool says of a checkpoint, a safetensors file.

        Raises:
            AuditorError: If the tool is not allowed, fails, or its values cannot be read.
        """


def tools_of(request: AuditRequest) -> tuple[Tool, ...]:
    """Return the tools whose values a request's figures rest on, each once."""
    found = {
        query.tool.model_dump_json(): query.tool
        for query in request.queries
        if not isinstance(query, Probe) and query.tool is not None
    }
    return tuple(found.values())


def require_same_examples(row: Row, estimator: Estimator, values: BlobValues) -> None:
    """Refuse outside values of different examples at different checkpoints.

    Raises:
        QueryError: If the tool did not return values of the same ids each time.
    """
    for question in row.questions:
        if question.query.kind is not QueryKind.OUTSIDE:
            continue
        expected = values.ids(question.factual)
        for spec in estimator.actions(question):
            if not isinstance(spec, Evaluate) or np.array_equal(values.ids(spec), expected):
                continue
            raise QueryError(
                f"query {row.query.name!r}.values",
                expected=f"values of the same {len(expected)} examples for every checkpoint",
                found=f"{len(values.ids(spec))} values, or other ids",
                remedy="Let the tool return one value for every example of fixed data.",
            )
