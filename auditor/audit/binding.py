"""Which comparison of a model artifact an audit asks for."""

from auditor.audit.questions import plain_queries
from auditor.plan.actions import BindModel
from auditor.plan.derivation import SameValues
from auditor.plan.request import AuditRequest


def binding_of(request: AuditRequest) -> BindModel | None:
    """Return the action that compares the request's model with the log; None without a model."""
    if request.model is None:
        return None
    by_values = any(isinstance(step, SameValues) for step in request.derivation or ())
    queries = tuple(query for given in request.queries for query in plain_queries(given))
    return BindModel(
        log=request.log,
        model=request.model,
        derivation=request.derivation,
        queries=queries if by_values else None,
    )
