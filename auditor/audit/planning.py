"""Planning: a pure function from a request and finished results to actions; no torch.

Called in rounds (decisions, 15): a round returns every action the audit needs so far, dependencies
first; when all of them are finished it is called again, and an audit whose round brings nothing new
is complete. Only ``auto`` needs more than one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from auditor.audit.binding import binding_of
from auditor.audit.check import check_request
from auditor.audit.choose import choose
from auditor.audit.finer import finer_actions
from auditor.audit.log_check import log_checks
from auditor.audit.questions import questions_of
from auditor.audit.repair import repair_actions
from auditor.audit.results import BlobValues
from auditor.estimators.base import Estimator
from auditor.estimators.noise import noise_for
from auditor.estimators.registry import BASELINES, resolved
from auditor.plan.actions import (
    ActionKey,
    ActionSpec,
    WriteReport,
    key_of,
)
from auditor.plan.asked import data_of
from auditor.plan.request import AuditRequest
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import StageLog

__all__ = ["Round", "check_request", "data_of", "plan_round"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """The actions an audit needs, dependencies first, each key once.

    The report is the last of them once nothing that is not finished can add to them.
    """

    actions: tuple[ActionSpec, ...]
    report: ActionKey


def plan_round(
    request: AuditRequest,
    log: StageLog,
    results: Mapping[ActionKey, Digest],
    *,
    blobs: BlobStore,
) -> Round:
    """Return the actions of an audit.

    Args:
        request: A request that :func:`auditor.audit.check.check_request` accepted.
        log: The log it names.
        results: Finished actions, which ``auto`` reads.
        blobs: Where their results are.

    Returns:
        All actions, finished ones included: whoever runs them skips those.
    """
    chosen = choose(request, log, BlobValues(blobs, results))
    actions = needed_actions(request, log, estimator=chosen.estimator)
    report = WriteReport(request=digest_of(request), inputs=tuple(sorted(actions)))
    last = (report,) if chosen.complete else ()
    return Round(actions=(*actions.values(), *last), report=key_of(report))


def needed_actions(
    request: AuditRequest, log: StageLog, *, estimator: Estimator
) -> dict[ActionKey, ActionSpec]:
    """Return what a report rests on, dependencies first.

    Args:
        request: A request that was checked.
        log: The log it names.
        estimator: Answers its interventions.
    """
    actions: dict[ActionKey, ActionSpec] = {}
    for spec in _needed(request, log, estimator=estimator):
        actions.setdefault(key_of(spec), spec)
    return actions


def _needed(request: AuditRequest, log: StageLog, *, estimator: Estimator) -> Iterator[ActionSpec]:
    binding = binding_of(request)
    if binding is not None:
        yield binding
    yield from log_checks(request, log)
    noise = [noise_for(kind, resolved(request.estimator), log) for kind in request.noise]
    baselines = [BASELINES[name] for name in request.baselines]
    for row in questions_of(request, log):
        for question in row.questions:
            yield question.factual
            yield from estimator.actions(question)
            for replays in noise:
                yield from replays.actions(question)
            if row.has_baselines:
                for baseline in baselines:
                    yield from baseline.actions(question)
    yield from finer_actions(request, log, estimator=estimator)
    yield from repair_actions(request, log)
