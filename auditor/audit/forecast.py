"""What an audit would cost and could show, told before it: costs, and the smallest effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from auditor.audit.choose import choose
from auditor.audit.cost import gradient_examples
from auditor.audit.planning import plan_round
from auditor.audit.questions import Row, questions_of
from auditor.audit.results import BlobValues
from auditor.audit.rows import paired
from auditor.effects import Probe, Query, QueryKind
from auditor.errors import NumericalError
from auditor.estimators.base import Estimator
from auditor.estimators.detectable import detectable_effect
from auditor.estimators.registry import resolved
from auditor.estimators.retrain import Retrain
from auditor.plan.actions import ActionKey, key_of
from auditor.plan.request import AuditRequest
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog

Basis = Literal["exact", "replicas", "evaluation set", "unknown"]

NOTES: Mapping[Basis, str] = {
    "exact": "Every effect on these examples: the counterfactual is retrained exactly.",
    "replicas": "From finished replays of this log: effects of this size are called effects in 80 "
    "of 100 cases.",
    "evaluation set": "One example answered differently: nothing smaller can be seen on these "
    "examples. What the replays' spread adds is unknown until replicas exist.",
    "unknown": "Unknown until replicas of this log and query exist.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryForecast:
    """The smallest effect on a query that the audit could call one; None if it is not known."""

    query: str
    unit: str
    detectable: float | None
    basis: Basis

    @property
    def note(self) -> str:
        """Where the figure comes from and what it means."""
        return NOTES[self.basis]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What an audit would take and could show.

    Attributes:
        relative: Gradient-examples of the actions that are not finished, over those of retraining
            the same questions; None where retraining takes none.
        queries: One a query, in the request's order.
    """

    relative: float | None
    queries: tuple[QueryForecast, ...]


def forecast(
    request: AuditRequest,
    log: StageLog,
    *,
    evaluation_sets: Mapping[str, EvaluationSet],
    blobs: BlobStore,
    results: Mapping[ActionKey, Digest],
) -> Forecast:
    """Return what an audit would take and could show, from what is finished already.

    Args:
        request: A request that was checked.
        log: The log it names.
        evaluation_sets: Manifests of all evaluation data, by digest.
        blobs: Where finished results are.
        results: Those of the audit's actions that are there.
    """
    values = BlobValues(blobs, results)
    estimator = choose(request, log, values).estimator
    rows = list(questions_of(request, log))
    exact = [spec for row in rows for q in row.questions for spec in Retrain().actions(q)]
    retraining = gradient_examples({key_of(spec): spec for spec in exact}.values(), log)
    planned = plan_round(request, log, results, blobs=blobs).actions
    waiting = [spec for spec in planned if key_of(spec) not in results]
    return Forecast(
        relative=gradient_examples(waiting, log) / retraining if retraining else None,
        queries=tuple(
            _of_query(
                query,
                [
                    found
                    for row in rows
                    if row.query is query
                    for found in _detectable(row, estimator, values, request=request)
                ],
                request=request,
                evaluation_sets=evaluation_sets,
            )
            for query in request.queries
        ),
    )


def _detectable(
    row: Row, estimator: Estimator, values: BlobValues, *, request: AuditRequest
) -> list[float]:
    """Return a row's smallest detectable effect; nothing unless all of its results are there."""
    if not all(values.has(spec) for q in row.questions for spec in estimator.actions(q)):
        return []
    try:
        sample = paired([estimator.sample(question, values) for question in row.questions])
    except NumericalError:
        return []
    found = detectable_effect(sample, confidence=request.confidence)
    # Exact rows say nothing about those that are replayed.
    return [] if found is None or sample.exact else [found]


def _of_query(
    query: Query | Probe,
    replayed: list[float],
    *,
    request: AuditRequest,
    evaluation_sets: Mapping[str, EvaluationSet],
) -> QueryForecast:
    detectable: float | None = None
    basis: Basis = "unknown"
    if resolved(request.estimator).id == "retrain":
        detectable, basis = 0.0, "exact"
    elif replayed:
        detectable, basis = max(replayed), "replicas"
    elif isinstance(query, Query) and query.kind is QueryKind.ACCURACY and query.where is None:
        examples = evaluation_sets[str(query.data)].dataset.examples
        detectable, basis = 1 / examples, "evaluation set"
    return QueryForecast(query=query.name, unit=query.unit, detectable=detectable, basis=basis)
