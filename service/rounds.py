"""What follows when all actions of an audit are done: another round, or the signed report."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from auditor.errors import AuditorError, UnavailableError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.failures import AuditDeadlineError, failure_of
from service.notices import Notices
from service.planning import PlannedRound
from service.records.checked_log import CheckedLog
from service.records.jobs import (
    ActionRow,
    AuditReader,
    AuditRecords,
    AuditRow,
    Cancelled,
    LogCheckRecords,
    NewAction,
    SignedReport,
)
from service.scheduler.states import LIVE_AUDITS, ActionState
from service.telemetry import Telemetry


class RoundPlanner(Protocol):
    """Plans stored requests; :class:`service.planning.AuditPlanner` is one."""

    def plan_stored(self, request: Digest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        """Return every action of a stored request that is known by now."""

    def missing(self, results: Iterable[Digest]) -> frozenset[Digest]:
        """Return the results that are no longer stored."""


class Finisher(Protocol):
    """Makes the signed report; :class:`service.finish.ReportSigner` is one."""

    def sign(
        self, audit: AuditRow, figures: Digest, *, actions: Sequence[ActionRow]
    ) -> SignedReport:
        """Return the report of an audit, its bundle stored durably."""


class Judge(Protocol):
    """Says what a finished check means; :class:`service.log_checks.LogJudge` is one."""

    def actions(self, check: AuditRow) -> tuple[NewAction, ...]:
        """Return every action of a stored check."""

    def judge(self, check: AuditRow, actions: Sequence[ActionRow]) -> CheckedLog:
        """Return what the finished actions of a check found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckEnding:
    """What ends a check of a log: who judges it, and where that is stored."""

    judge: Judge
    records: LogCheckRecords


@final
class Rounds:
    """Carries settled audits on.

    Args:
        audits: Audits to change.
        reader: Audits to look at.
        planner: Plans the next round.
        finisher: Signs.
        checks: What ends a check of a log.
        notices: Who waits for news.
        telemetry: What operators are told.
        held_seconds: For how long an audit is kept from other front ends while it is carried on.
    """

    def __init__(
        self,
        *,
        audits: AuditRecords,
        reader: AuditReader,
        planner: RoundPlanner,
        finisher: Finisher,
        checks: CheckEnding,
        notices: Notices,
        telemetry: Telemetry,
        held_seconds: float = 30.0,
    ) -> None:
        self._audits = audits
        self._reader = reader
        self._planner = planner
        self._finisher = finisher
        self._checks = checks
        self._notices = notices
        self._telemetry = telemetry
        self._held_seconds = held_seconds

    def carry_on(self, audit_id: str) -> Cancelled:
        """Plan the next round of a settled audit, or finish it; return what a failure changed.

        An audit that another front end carries on is left to it.

        Raises:
            UnavailableError: If a store cannot be written now; the audit waits.
        """
        audit = self._reader.find(audit_id)
        actions = self._reader.actions(audit_id)
        settled = all(action.state is ActionState.DONE for action in actions)
        if audit.state not in LIVE_AUDITS or not settled:
            return Cancelled()
        if not self._audits.take(audit_id, seconds=self._held_seconds):
            return Cancelled()
        try:
            if audit.kind == "check":
                self._judge(audit, actions)
            else:
                self._plan_or_finish(audit, actions)
        except UnavailableError:
            raise
        except AuditorError as error:
            return self.fail(audit_id, error)
        return Cancelled()

    def fail(self, audit_id: str, error: AuditorError) -> Cancelled:
        """End an audit with an error; return what that changed."""
        return self.told(self._audits.end(audit_id, failure=failure_of(error)))

    def overdue(self, audit_id: str) -> Cancelled:
        """End an audit whose deadline has come; return what that changed."""
        error = AuditDeadlineError(
            f"audit {audit_id}",
            expected="a report before the deadline",
            found="actions that are not done",
            remedy="Ask again with a later deadline: finished actions are not computed again.",
        )
        return self._audits.end(audit_id, failure=failure_of(error))

    def told(self, ended: Cancelled) -> Cancelled:
        """Tell operators and waiting callers of audits that ended."""
        for audit_id in ended.audits:
            self._telemetry.audit_ended(self._reader.find(audit_id))
        self._notices.set_step(ended.audits, None)
        return ended

    def _plan_or_finish(self, audit: AuditRow, actions: Sequence[ActionRow]) -> None:
        results = {a.key: a.result for a in actions if a.result is not None}
        planned = self._planner.plan_stored(audit.request_digest, results)
        known = {action.key for action in actions}
        fresh = [action for action in planned.actions if action.key not in known]
        figures = results.get(planned.report)
        if fresh:
            self._append(audit, planned.actions, gone=())
        elif figures is None or self._planner.missing([figures]):
            self._append(audit, planned.actions, gone=self._planner.missing(results.values()))
        elif self._audits.begin_signing(audit.id):
            self._notices.publish([audit.id])
            self._finish(audit, figures, actions)

    def _judge(self, check: AuditRow, actions: Sequence[ActionRow]) -> None:
        gone = self._planner.missing(a.result for a in actions if a.result is not None)
        if gone:
            self._append(check, self._checks.judge.actions(check), gone=gone)
        elif self._checks.records.finish(check.id, self._checks.judge.judge(check, actions)):
            self._telemetry.audit_ended(self._reader.find(check.id))
            self._notices.set_step([check.id], None)

    def _append(
        self, audit: AuditRow, actions: Sequence[NewAction], *, gone: Collection[Digest]
    ) -> None:
        plan = self._audits.append(audit.id, actions, gone=gone, after_round=audit.round)
        kinds = {action.key: action.kind for action in actions}
        self._telemetry.planned(audit.id, plan, kinds=kinds)
        self._notices.publish([audit.id])

    def _finish(self, audit: AuditRow, figures: Digest, actions: Sequence[ActionRow]) -> None:
        try:
            signed = self._finisher.sign(audit, figures, actions=actions)
        except AuditorError:
            self._telemetry.signed("failed")
            raise
        self._telemetry.signed("signed")
        if self._audits.finish(audit.id, signed):
            self._telemetry.audit_ended(self._reader.find(audit.id))
        self._notices.set_step([audit.id], None)
