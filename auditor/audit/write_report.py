"""From the results of an audit's actions to its report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from pydantic import TypeAdapter
from safetensors.numpy import save as save_arrays

from auditor.audit.binding import binding_of
from auditor.audit.choose import choose
from auditor.audit.cost import gradient_examples
from auditor.audit.diagnoses import request_diagnoses
from auditor.audit.effect_rows import EffectRows
from auditor.audit.extremes import ExampleEffects
from auditor.audit.finer import allocations_of, joint_effects, timelines_of
from auditor.audit.limitations import limitations_of
from auditor.audit.log_check import log_checks
from auditor.audit.outside import require_same_examples, tools_of
from auditor.audit.pairs import require_pairs
from auditor.audit.planning import needed_actions
from auditor.audit.questions import plain_queries, questions_of
from auditor.audit.regime import regime_of
from auditor.audit.repair_report import repair_of
from auditor.audit.results import BlobValues
from auditor.effects import Effect, Probe, Query
from auditor.estimators.base import Estimator, Question
from auditor.estimators.dossier import dossier
from auditor.estimators.noise import noise_for
from auditor.estimators.registry import kind_of, resolved
from auditor.estimators.retrain import Retrain
from auditor.plan.actions import (
    ActionKey,
    ActionSpec,
    BindingFinding,
    SegmentFinding,
    key_of,
)
from auditor.plan.request import AuditRequest
from auditor.report.schema import (
    Cost,
    Disagreement,
    EstimatorIdentity,
    EvaluationData,
    Examples,
    GroupSize,
    LogIdentity,
    ModelIdentity,
    NotComputed,
    QueryValue,
    Report,
    Software,
)
from auditor.report.validation import validation_of
from auditor.report.wording import consistency_statement, disagreement_text
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import StageLog

_SEGMENT = TypeAdapter(SegmentFinding)
_BINDING = TypeAdapter(BindingFinding)


def write_report(
    request: AuditRequest,
    log: StageLog,
    *,
    evaluation_sets: Mapping[str, EvaluationSet],
    blobs: BlobStore,
    results: Mapping[ActionKey, Digest],
    sizes: Callable[[Query], Mapping[str, int]],
    software: Software,
) -> Report:
    """Return the report of an audit whose actions are all finished, without its ``run`` part.

    Args:
        request: What was asked.
        log: The audited log.
        evaluation_sets: Manifests of all evaluation data, by digest.
        blobs: Where results are read, and the per-example effects written.
        results: The result of every action.
        sizes: Of the groups that a query compares.
        software: What computed the figures.

    Raises:
        QueryError: If the rows of a probe are no pairs.
    """
    values = BlobValues(blobs, results)
    settings = resolved(request.estimator)
    chosen = choose(request, log, values)
    estimator = chosen.estimator
    rows = EffectRows(request, values, estimator=estimator)
    single = ExampleEffects(request, values, evaluation_sets=evaluation_sets)
    absent: dict[str, NotComputed] = {}
    for row in questions_of(request, log):
        require_pairs(row, values)
        sample = rows.add(row)
        if sample is not None:
            require_same_examples(row, estimator, values)
            single.add(row, sample)
    effects = rows.effects
    if kind_of(settings).interval == "no":
        absent["interval"] = NotComputed(
            what="low, high, spread, self_check",
            why=f"the error of {settings.id} on this log was not measured",
        )
    unmeasured = [kind for kind in ("order", "rerun") if kind not in request.noise]
    if unmeasured:
        absent["noise"] = NotComputed(
            what=", ".join(f"sd_{kind}" for kind in unmeasured),
            why="not requested: no batch orders or reruns were replayed"
            if len(unmeasured) == 2
            else f"not requested: noise names {', '.join(request.noise)} only",
        )
    findings = _findings(request, log, values)
    if not findings:
        absent["consistency"] = NotComputed(
            what="log.consistency",
            why="the request skips it"
            if request.consistency == "skip"
            else f"a log of level {log.level} cannot be replayed",
        )
    allocations, diverging = allocations_of(request, log, values, estimator=estimator)
    if diverging:
        absent["allocations"] = NotComputed(
            what="allocations of " + ", ".join(diverging),
            why="a trajectory without some of the stages diverges",
        )
    actions = needed_actions(request, log, estimator=estimator)
    return Report(
        request=digest_of(request),
        log=LogIdentity(
            digest=request.log,
            name=log.run.name,
            level=log.level,
            stages=tuple(stage.name for stage in log.stages),
            consistency=findings,
            consistency_statement=consistency_statement(findings),
        ),
        model=_model(request, log, values),
        estimator=EstimatorIdentity(
            id=settings.id,
            settings=settings,
            resolved_from=request.estimator.id,
            choices=chosen.choices,
        ),
        validation=validation_of(settings.id, regime_of(log, blobs), dossier=dossier()),
        evaluation_data=tuple(
            EvaluationData(digest=digest, name=found.name, examples=found.dataset.examples)
            for digest, found in sorted(evaluation_sets.items())
        ),
        queries=_query_values(request, log, values, sizes=sizes),
        effects=effects,
        disagreements=_disagreements(effects),
        joints=joint_effects(request, log, effects),
        allocations=allocations,
        timelines=timelines_of(request, log, values, blobs=blobs),
        examples=Examples(digest=blobs.write(save_arrays(single.vectors)))
        if single.vectors
        else None,
        extremes=single.extremes,
        tools=tools_of(request),
        cost=Cost(
            gradient_examples=str(gradient_examples(actions.values(), log)),
            examples_relative=_relative_cost(request, log, estimator),
            noise_relative=_noise_cost(request, log, estimator),
        ),
        software=software,
        not_computed=(*absent.values(), *single.absent),
        limitations=limitations_of(
            request,
            log,
            findings=findings,
            effects=effects,
            multiplicity=rows.multiplicity,
        ),
        diagnoses=(*rows.diagnoses, *request_diagnoses(request, log, evaluation_sets)),
        multiplicity=rows.multiplicity,
        repair=repair_of(request, log, values),
        purpose=request.purpose,
        policy_digest=request.policy_digest,
    )


def _findings(
    request: AuditRequest, log: StageLog, values: BlobValues
) -> tuple[SegmentFinding, ...]:
    return tuple(
        _SEGMENT.validate_json(bytes(values.bytes_of(check))) for check in log_checks(request, log)
    )


def _model(request: AuditRequest, log: StageLog, values: BlobValues) -> ModelIdentity:
    binding = binding_of(request)
    if request.model is None or binding is None:
        digest = log.boundary(len(log.stages)).parameters
        return ModelIdentity(digest=digest, bound=False, source="final checkpoint")
    finding = _BINDING.validate_json(bytes(values.bytes_of(binding)))
    return ModelIdentity(
        digest=request.model,
        bound=finding.bound,
        source="artifact",
        derivation=finding.derivation,
        deviation=finding.deviation,
    )


def _query_values(
    request: AuditRequest,
    log: StageLog,
    values: BlobValues,
    *,
    sizes: Callable[[Query], Mapping[str, int]],
) -> tuple[QueryValue, ...]:
    found: dict[str, QueryValue] = {}
    for row in questions_of(request, log):
        if row.query.name in found:
            continue
        factual = [values.per_example(question.factual) for question in row.questions]
        difference = factual[0] if len(factual) == 1 else factual[0] - factual[1]
        measured = row.query.of if isinstance(row.query, Probe) else row.query
        found[row.query.name] = QueryValue(
            query=row.query.name,
            kind=measured.kind,
            group=measured.group,
            unit=row.query.unit,
            better=row.query.better.value,
            value=float(np.mean(difference)),
            n=len(difference),
            groups=tuple(GroupSize(name=name, n=n) for name, n in sizes(measured).items()),
            data=tuple(plain.data for plain in plain_queries(row.query) if plain.data is not None),
        )
    return tuple(found.values())


def _disagreements(effects: Sequence[Effect]) -> tuple[Disagreement, ...]:
    """Pair rows on one stage and query that differ in sign or in whether there is an effect."""
    found = []
    for one, other in combinations(effects, 2):
        same = one.query == other.query and one.stage == other.stage
        if not same or one.stage is None or one.kind == other.kind:
            continue
        if one.value is None or other.value is None:
            continue
        if one.value * other.value < 0 or one.verdict != other.verdict:
            found.append(
                Disagreement(query=one.query, stage=one.stage, text=disagreement_text(one, other))
            )
    return tuple(found)


def _relative_cost(request: AuditRequest, log: StageLog, estimator: Estimator) -> float | None:
    """Return the estimator's gradient-examples over those of retraining the same questions."""
    questions = [question for row in questions_of(request, log) for question in row.questions]
    return _over_retraining([s for q in questions for s in estimator.actions(q)], questions, log)


def _noise_cost(request: AuditRequest, log: StageLog, estimator: Estimator) -> float | None:
    """Return the same for what noise takes beside the estimator; None if none was asked for."""
    if not request.noise:
        return None
    questions = [question for row in questions_of(request, log) for question in row.questions]
    shared = {key_of(spec) for q in questions for spec in estimator.actions(q)}
    replays = [noise_for(kind, resolved(request.estimator), log) for kind in request.noise]
    own = [spec for of in replays for q in questions for spec in of.actions(q)]
    return _over_retraining([spec for spec in own if key_of(spec) not in shared], questions, log)


def _over_retraining(
    specs: Iterable[ActionSpec], questions: Sequence[Question], log: StageLog
) -> float | None:
    own = {key_of(spec): spec for spec in specs}
    exact = {key_of(spec): spec for q in questions for spec in Retrain().actions(q)}
    retraining = gradient_examples(exact.values(), log)
    return gradient_examples(own.values(), log) / retraining if retraining else None
