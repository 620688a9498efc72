"""From the results of an audit's actions to its report."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from pydantic import TypeAdapter
from safetensors.numpy import save as save_arrays

from auditor.audit.cost import gradient_examples
from auditor.audit.extremes import ExampleEffects
from auditor.audit.limitations import limitations_of
from auditor.audit.outside import require_same_examples, tools_of
from auditor.audit.pairs import require_pairs
from auditor.audit.planning import plan_round
from auditor.audit.questions import Row, questions_of
from auditor.audit.repair_report import repair_of
from auditor.audit.results import BlobValues
from auditor.effects import Effect, SelfCheck
from auditor.estimators.base import Estimator, Sample
from auditor.estimators.interval import Summary, summarise
from auditor.estimators.registry import BASELINES, estimator_for
from auditor.estimators.retrain import Retrain
from auditor.plan.actions import (
    ActionKey,
    BindingFinding,
    BindModel,
    CheckSegment,
    SegmentFinding,
    key_of,
)
from auditor.plan.request import AuditRequest, Joint
from auditor.plan.settings import AaScoreSettings, CheckpointJumpSettings, resolve
from auditor.report.schema import (
    Cost,
    Disagreement,
    EstimatorIdentity,
    EvaluationData,
    Examples,
    LogIdentity,
    ModelIdentity,
    NotComputed,
    QueryValue,
    Report,
    Software,
)
from auditor.report.wording import consistency_statement, disagreement_text, effect_statement
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
    software: Software,
) -> Report:
    """Return the report of an audit whose actions are all finished, without its ``run`` part.

    Args:
        request: What was asked.
        log: The audited log.
        evaluation_sets: Manifests of all evaluation data, by digest.
        blobs: Where results are read, and the per-example effects written.
        results: The result of every action.
        software: What computed the figures.

    Raises:
        QueryError: If the rows of a probe are no pairs.
    """
    values = BlobValues(blobs, results)
    settings = resolve(request.estimator)
    estimator = estimator_for(settings)
    effects: list[Effect] = []
    single = ExampleEffects(request, values, evaluation_sets=evaluation_sets)
    absent: dict[str, NotComputed] = {}
    for row in questions_of(request, log):
        require_pairs(row, values)
        require_same_examples(row, estimator, values)
        sample = _sample(row, estimator, values)
        single.add(row, sample)
        effects.append(_effect(row, sample, request=request, estimator=estimator, values=values))
    if isinstance(settings, AaScoreSettings | CheckpointJumpSettings) or settings.id in BASELINES:
        absent["interval"] = NotComputed(
            what="low, high, spread, self_check",
            why=f"{settings.id} has no replicas; its error on this log was not measured",
        )
    absent["order"] = NotComputed(
        what="sd_order, sd_rerun", why="not requested: no batch orders or reruns were replayed"
    )
    findings = _findings(request, log, values)
    if not findings:
        absent["consistency"] = NotComputed(
            what="log.consistency",
            why="the request skips it"
            if request.consistency == "skip"
            else f"a log of level {log.level} cannot be replayed",
        )
    actions = plan_round(request, log, results).actions
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
            id=settings.id, settings=settings, resolved_from=request.estimator.id
        ),
        evaluation_data=tuple(
            EvaluationData(digest=digest, name=found.name, examples=found.dataset.examples)
            for digest, found in sorted(evaluation_sets.items())
        ),
        queries=_query_values(request, log, values),
        effects=tuple(effects),
        disagreements=_disagreements(effects),
        examples=Examples(digest=blobs.write(save_arrays(single.vectors)))
        if single.vectors
        else None,
        extremes=single.extremes,
        tools=tools_of(request),
        cost=Cost(
            gradient_examples=str(gradient_examples(actions, log)),
            examples_relative=_relative_cost(request, log, estimator),
        ),
        software=software,
        not_computed=(*absent.values(), *single.absent),
        limitations=limitations_of(request, log, findings=findings, effects=tuple(effects)),
        repair=repair_of(request, log, values),
        purpose=request.purpose,
        policy_digest=request.policy_digest,
    )


def _sample(row: Row, estimator: Estimator, values: BlobValues) -> Sample:
    samples = [estimator.sample(question, values) for question in row.questions]
    return samples[0] if len(samples) == 1 else samples[0].minus(samples[1])


def _effect(
    row: Row,
    sample: Sample,
    *,
    request: AuditRequest,
    estimator: Estimator,
    values: BlobValues,
) -> Effect:
    summary = summarise(sample, confidence=request.confidence)
    baselines: dict[str, float] = (
        {
            name: float(_sample(row, BASELINES[name], values).effects.mean())
            for name in request.baselines
        }
        if row.has_baselines
        else {}
    )
    interval = _interval(summary)
    keys = sorted({key_of(spec) for q in row.questions for spec in estimator.actions(q)})
    return Effect(
        query=row.query.name,
        unit=row.query.unit,
        better=row.query.better,
        intervention=row.intervention.label,
        kind=row.intervention.kind,
        stage=None if isinstance(row.intervention, Joint) else row.intervention.stage,
        stages=tuple(part.stage for part in row.intervention.parts)
        if isinstance(row.intervention, Joint)
        else (),
        value=summary.value,
        low=summary.low,
        high=summary.high,
        confidence=request.confidence if interval else None,
        spread=summary.spread,
        self_check=None
        if summary.deviation is None
        else SelfCheck(kind="factual_replay", deviation=summary.deviation),
        verdict=summary.verdict,
        baselines=baselines,
        n=len(values.per_example(row.questions[0].factual)),
        exact_by_construction=sample.exact,
        statement=effect_statement(
            row.intervention,
            query=row.query.name,
            unit=row.query.unit,
            value=summary.value,
            interval=interval,
            confidence=request.confidence,
        ),
        action_keys=tuple(keys),
    )


def _interval(summary: Summary) -> tuple[float, float] | None:
    if summary.low is None or summary.high is None:
        return None
    return summary.low, summary.high


def _findings(
    request: AuditRequest, log: StageLog, values: BlobValues
) -> tuple[SegmentFinding, ...]:
    if request.consistency != "replay" or log.level < 2:
        return ()
    return tuple(
        _SEGMENT.validate_json(bytes(values.bytes_of(CheckSegment(log=request.log, stage=stage))))
        for stage in range(len(log.stages))
    )


def _model(request: AuditRequest, log: StageLog, values: BlobValues) -> ModelIdentity:
    if request.model is None:
        digest = log.boundary(len(log.stages)).parameters
        return ModelIdentity(digest=digest, bound=False, source="final checkpoint")
    finding = _BINDING.validate_json(
        bytes(values.bytes_of(BindModel(log=request.log, model=request.model)))
    )
    return ModelIdentity(digest=request.model, bound=finding.bound, source="artifact")


def _query_values(
    request: AuditRequest, log: StageLog, values: BlobValues
) -> tuple[QueryValue, ...]:
    found: dict[str, QueryValue] = {}
    for row in questions_of(request, log):
        if row.query.name in found:
            continue
        factual = [values.per_example(question.factual) for question in row.questions]
        difference = factual[0] if len(factual) == 1 else factual[0] - factual[1]
        found[row.query.name] = QueryValue(
            query=row.query.name,
            unit=row.query.unit,
            better=row.query.better.value,
            value=float(np.mean(difference)),
            n=len(difference),
        )
    return tuple(found.values())


def _disagreements(effects: list[Effect]) -> tuple[Disagreement, ...]:
    """Pair rows on one stage and query that differ in sign or in whether there is an effect."""
    found = []
    for one, other in combinations(effects, 2):
        same = one.query == other.query and one.stage == other.stage
        if not same or one.stage is None or one.kind == other.kind:
            continue
        if one.value * other.value < 0 or one.verdict != other.verdict:
            found.append(
                Disagreement(query=one.query, stage=one.stage, text=disagreement_text(one, other))
            )
    return tuple(found)


def _relative_cost(request: AuditRequest, log: StageLog, estimator: Estimator) -> float | None:
    """Return the estimator's gradient-examples over those of retraining the same questions."""
    questions = [question for row in questions_of(request, log) for question in row.questions]
    own = {key_of(spec): spec for q in questions for spec in estimator.actions(q)}
    exact = {key_of(spec): spec for q in questions for spec in Retrain().actions(q)}
    retraining = gradient_examples(exact.values(), log)
    if retraining == 0:
        return None
    return gradient_examples(own.values(), log) / retraining
