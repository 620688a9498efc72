"""What a request asks for, written out: interventions, their parts, and the data they name."""

from itertools import combinations

from pydantic import JsonValue

from auditor.effects import Probe
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.stagelog.log import StageLog


def plain_request(request: AuditRequest) -> dict[str, JsonValue]:
    """Return a request as a report holds it: the JSON whose digest names it."""
    return request.model_dump(mode="json", by_alias=True, exclude_none=True)


def interventions_of(request: AuditRequest, log: StageLog) -> tuple[Intervention | Joint, ...]:
    """Return the interventions asked for, then their pairs if those are asked for too.

    ``"stages"`` is a skip of every stage. Interventions on one stage are no pair.
    """
    single: tuple[Intervention | Joint, ...] = (
        tuple(Intervention(kind="skip", stage=stage.name) for stage in log.stages)
        if request.interventions == "stages"
        else request.interventions
    )
    if request.joint is None:
        return single
    plain = [found for found in single if isinstance(found, Intervention)]
    pairs = [Joint(parts=pair) for pair in combinations(plain, 2) if pair[0].stage != pair[1].stage]
    return (*single, *(pair for pair in pairs if pair not in single))


def parts_of(intervention: Intervention | Joint) -> tuple[Intervention, ...]:
    """Return what acts on single stages."""
    return intervention.parts if isinstance(intervention, Joint) else (intervention,)


def data_of(request: AuditRequest) -> tuple[str, ...]:
    """Return the digests of all evaluation-set manifests a request names, once each."""
    found: dict[str, None] = {}
    for query in request.queries:
        if isinstance(query, Probe):
            found[query.treated] = None
            found[query.control] = None
        elif query.data is not None:
            found[query.data] = None
    if request.interventions != "stages":
        for intervention in (part for one in request.interventions for part in parts_of(one)):
            if intervention.reference is not None and intervention.reference.data is not None:
                found[intervention.reference.data] = None
    return tuple(found)


def metrics_of(request: AuditRequest) -> tuple[str, ...]:
    """Return the digests of all metric graphs a request names, once each."""
    plain = [query.of if isinstance(query, Probe) else query for query in request.queries]
    return tuple(dict.fromkeys(query.metric for query in plain if query.metric is not None))
