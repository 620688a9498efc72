"""Is this request answerable? Everything that can be refused before anything is stored."""

from collections.abc import Mapping

from auditor.audit.check_kind import (
    require_allocation,
    require_export,
    require_followed,
    require_gradient,
    require_level,
    require_separate,
    require_treated,
)
from auditor.effects import Probe
from auditor.errors import InputError, ResourceError
from auditor.estimators.registry import kind_of, resolved
from auditor.plan.asked import interventions_of, parts_of
from auditor.plan.check_finer import check_allocation, check_timelines
from auditor.plan.check_intervention import check_intervention
from auditor.plan.check_noise import check_noise
from auditor.plan.check_query import check_query
from auditor.plan.check_repair import check_repair
from auditor.plan.request import AuditRequest, Joint
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.log import StageLog

MAX_EFFECTS = 100_000


def check_request(
    request: AuditRequest, log: StageLog, evaluation_sets: Mapping[str, EvaluationSet]
) -> None:
    """Refuse a request that the log, the data or this version cannot answer.

    Args:
        request: What is asked.
        log: A validated log.
        evaluation_sets: Manifests by digest, one for each of :func:`data_of`.

    Raises:
        InputError: If the request contradicts itself, the log or the data.
        PreconditionError: If the log's level is too low, naming what is missing.
        UnsupportedError: If the combination is not treated by this version.
        ResourceError: If it asks for more than :data:`MAX_EFFECTS` effects.
    """
    settings = resolved(request.estimator)
    kind = kind_of(settings)
    require_level(kind, log)
    check_noise(request.noise, log)
    interventions = interventions_of(request, log)
    if len(interventions) * len(request.queries) > MAX_EFFECTS:
        raise ResourceError(
            "queries × interventions",
            expected=f"at most {MAX_EFFECTS} effects",
            found=len(interventions) * len(request.queries),
            remedy="Split the audit.",
        )
    _require_unique("interventions", [intervention.label for intervention in interventions])
    _require_unique("queries", [query.name for query in request.queries])
    if request.repair is not None:
        require_export(kind)
        check_repair(
            request.repair,
            labels=[intervention.label for intervention in interventions],
            queries=[query.name for query in request.queries],
        )
    for index, intervention in enumerate(interventions):
        for number, part in enumerate(parts_of(intervention)):
            within = f".parts[{number}]" if isinstance(intervention, Joint) else ""
            where = f"interventions[{index}]{within}"
            check_intervention(part, where=where, log=log, evaluation_sets=evaluation_sets)
            require_treated(kind, part, where=where)
            require_followed(kind, part, log)
    require_separate(kind, interventions)
    if kind.check is not None:
        kind.check(settings, log)
    if request.allocation is not None:
        names = [query.name for query in request.queries]
        require_allocation(kind)
        check_allocation(request.allocation, log, queries=names)
    for index, query in enumerate(request.queries):
        check_query(query, where=f"queries[{index}]", log=log, sets=evaluation_sets)
        plain = query.of if isinstance(query, Probe) else query
        require_gradient(kind, plain.kind, where=f"queries[{index}].kind")
    if request.timelines is not None:
        by_name = {query.name: query for query in request.queries}
        check_timelines(request.timelines, log, queries=by_name)


def _require_unique(where: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            where,
            expected="every entry once",
            found=repeated[0],
            remedy="Remove the repetition or rename it.",
        )
