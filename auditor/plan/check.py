"""Is this request answerable? Everything that can be refused before anything is stored."""

from collections.abc import Mapping
from itertools import combinations

from auditor.effects import DIFFERENTIABLE, Probe
from auditor.errors import InputError, PreconditionError, ResourceError, UnsupportedError
from auditor.plan.check_estimator import check_estimator
from auditor.plan.check_finer import check_allocation, check_timelines
from auditor.plan.check_intervention import check_intervention
from auditor.plan.check_noise import check_noise
from auditor.plan.check_query import check_query
from auditor.plan.check_repair import check_repair
from auditor.plan.request import AuditRequest, Intervention, Joint
from auditor.plan.settings import AaScoreSettings, EstimatorSettings, resolve
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.log import StageLog

MAX_EFFECTS = 100_000

REQUIRED_LEVEL = {
    "checkpoint_delta": 0,
    "task_vector": 0,
    "auto": 2,
    "subsampled_replay": 2,
    "settle": 2,
    "coarse_replay": 2,
    "checkpoint_jump": 2,
    "retrain": 2,
    "aa_score": 2,
}
"""Level of log that each estimator needs in this version."""

ONLY_SKIP = frozenset({"checkpoint_delta", "task_vector"})
"""Estimators that know nothing but the whole stage's update."""


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
    settings = resolve(request.estimator)
    _check_level(settings.id, log)
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
        check_repair(
            request.repair,
            settings,
            labels=[intervention.label for intervention in interventions],
            queries=[query.name for query in request.queries],
        )
    for index, intervention in enumerate(interventions):
        for number, part in enumerate(parts_of(intervention)):
            within = f".parts[{number}]" if isinstance(intervention, Joint) else ""
            where = f"interventions[{index}]{within}"
            check_intervention(part, where=where, log=log, evaluation_sets=evaluation_sets)
            _check_combination(settings, part, where=where)
    check_estimator(settings, log, interventions)
    if request.allocation is not None:
        names = [query.name for query in request.queries]
        check_allocation(request.allocation, log, settings=settings, queries=names)
    for index, query in enumerate(request.queries):
        check_query(query, where=f"queries[{index}]", log=log, sets=evaluation_sets)
        plain = query.of if isinstance(query, Probe) else query
        if settings.id == "aa_score" and plain.kind not in DIFFERENTIABLE:
            raise UnsupportedError(
                f"queries[{index}].kind",
                expected="a query with a gradient for aa_score",
                found=plain.kind.value,
                remedy="Ask for margin or probability, or use another estimator.",
            )
    if request.timelines is not None:
        by_name = {query.name: query for query in request.queries}
        check_timelines(request.timelines, log, queries=by_name)


def _check_level(estimator: str, log: StageLog) -> None:
    required = REQUIRED_LEVEL[estimator]
    if log.level < required:
        raise PreconditionError(
            "log.level",
            expected=f"level {required} for {estimator}: schedules, optimizer states at the "
            "boundaries and every batch with its data",
            found=f"level {log.level}, without {_first_lacking(log)}",
            remedy="Use checkpoint_delta or task_vector, or record the run with batches.",
        )


def _first_lacking(log: StageLog) -> str:
    """Return the path of the first thing that keeps a log from level 2."""
    for index in range(len(log.stages) + 1):
        if log.boundary(index).optimizer is None:
            at = "start" if index == 0 else f"stages[{index - 1}].checkpoints[-1]"
            return f"{at}.optimizer"
    for index, stage in enumerate(log.stages):
        for field in ("schedule", "batches"):
            if getattr(stage, field) is None:
                return f"stages[{index}].{field}"
        for name in stage.datasets:
            if log.datasets[name].coverage.kind != "full":
                return f'all examples of datasets["{name}"]'
    return "nothing"


def _require_unique(where: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            where,
            expected="every entry once",
            found=repeated[0],
            remedy="Remove the repetition or rename it.",
        )


def _check_combination(
    settings: EstimatorSettings, intervention: Intervention, *, where: str
) -> None:
    if settings.id in ONLY_SKIP and (intervention.kind != "skip" or intervention.steps is not None):
        raise UnsupportedError(
            f"{where}.kind",
            expected=f"a skip of a whole stage for {settings.id}",
            found=intervention.label,
            remedy="Use subsampled_replay or retrain for this intervention.",
        )
    if isinstance(settings, AaScoreSettings) and intervention.kind not in {"skip", "fade"}:
        raise UnsupportedError(
            f"{where}.kind",
            expected="skip or fade for aa_score",
            found=intervention.kind,
            remedy="Use subsampled_replay or retrain for this intervention.",
        )
