"""Planning of a repair: the counterfactual whose model is handed out, and its evaluation; no torch.

A repair adds to an audit one trajectory's end as a model file, and every query at it. With exact
retraining and with sub-sampled replay the audit computes that trajectory anyway, so a repair of an
audited log costs forward passes only.
"""

from collections.abc import Iterator
from typing import Literal

from auditor.audit.questions import Row, questions_of
from auditor.errors import InternalError
from auditor.estimators.base import Question
from auditor.estimators.registry import resolved
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.actions import ActionSpec, Advance, Evaluate, ExportState
from auditor.plan.asked import interventions_of
from auditor.plan.chains import chain_from, end_of
from auditor.plan.repair import RepairRequest
from auditor.plan.request import AuditRequest
from auditor.plan.settings import EstimatorSettings
from auditor.stagelog.log import StageLog

EXPORTED_REPLICA = 0
"""Which replica's model is handed out; the first, so that the choice is nobody's."""


def fraction_of(settings: EstimatorSettings) -> float:
    """Return the part of each batch that the handed-out trajectory uses."""
    return settings.fraction if isinstance(settings, SubsampledReplaySettings) else 1.0


def method_of(settings: EstimatorSettings) -> Literal["retrain", "subsampled_replay"]:
    """Return how the model is computed, for a request that was checked."""
    match settings.id:
        case "retrain" | "subsampled_replay":
            return settings.id
        case _:
            raise InternalError(
                "estimator",
                expected="an estimator that computes a model",
                found=settings.id,
                remedy="Report this as a bug: the request was not checked.",
            )


def repaired_rows(request: AuditRequest, log: StageLog, repair: RepairRequest) -> Iterator[Row]:
    """Yield the rows of the intervention whose model is handed out, one a query."""
    chosen = interventions_of(request, log)[repair.intervention]
    return (row for row in questions_of(request, log) if row.intervention == chosen)


def repaired_chain(question: Question, settings: EstimatorSettings) -> tuple[Advance, ...]:
    """Return the trajectory whose end is handed out."""
    return chain_from(
        question.log,
        question.log_digest,
        question.stage_index,
        interventions=question.parts,
        fraction=fraction_of(settings),
        replica=EXPORTED_REPLICA,
        seed=question.seed,
    )


def evaluations_after(row: Row, settings: EstimatorSettings) -> tuple[Evaluate, ...]:
    """Return the actions that evaluate a row's query, or its two sides, at the repaired model."""
    return tuple(
        question.evaluate(end_of(repaired_chain(question, settings), question.log))
        for question in row.questions
    )


def export_of(request: AuditRequest, log: StageLog, repair: RepairRequest) -> ExportState:
    """Return the action that writes the repaired model."""
    question = next(repaired_rows(request, log, repair)).questions[0]
    chain = repaired_chain(question, resolved(request.estimator))
    return ExportState(log=request.log, state=end_of(chain, log))


def repair_actions(request: AuditRequest, log: StageLog) -> Iterator[ActionSpec]:
    """Yield what a repair needs, dependencies first; nothing for a request without one."""
    if request.repair is None:
        return
    settings = resolved(request.estimator)
    for row in repaired_rows(request, log, request.repair):
        yield from repaired_chain(row.questions[0], settings)
        yield from evaluations_after(row, settings)
    yield export_of(request, log, request.repair)
