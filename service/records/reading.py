"""What is asked about audits, in SQL."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, final

from sqlalchemy import Connection, Row, func, select

from auditor.errors import ArtifactMissingError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.failures import failure_from
from service.records.checks import CHECK, found_by
from service.records.engine import Database
from service.records.history import events_after, progress_of
from service.records.jobs import ActionRow, AuditRow, EventRow, JobKind, QueuedWork
from service.records.log_audits import AuditOfLog
from service.records.plans import find_actions
from service.records.tables import action, audit, audit_action, operation
from service.scheduler.states import PENDING_ACTIONS, ActionState, AuditState

AUDIT: Final[JobKind] = "audit"


@final
class SqlAuditReader:
    """The :class:`service.records.jobs.AuditReader` of a database.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, tenant: str, audit_id: str) -> AuditRow:
        """Return one audit.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
        """
        return self._database.read(lambda connection: audit_row(connection, tenant, audit_id))

    def page(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None,
        log: Digest | None,
        kind: JobKind | None = None,
    ) -> tuple[AuditRow, ...]:
        """Return audits that are not deleted, newest first, older than ``before``."""

        def work(connection: Connection) -> tuple[AuditRow, ...]:
            query = (
                select(audit, operation.c.kind)
                .join(operation, operation.c.id == audit.c.id)
                .where(audit.c.tenant == tenant)
                .order_by(audit.c.id.desc())
                .limit(limit)
            )
            if before is not None:
                query = query.where(audit.c.id < before)
            if log is not None:
                query = query.where(audit.c.log_digest == log)
            if kind is not None:
                query = query.where(operation.c.kind == kind)
            return tuple(_audit(connection, row) for row in connection.execute(query).all())

        return self._database.read(work)

    def find(self, audit_id: str) -> AuditRow:
        """Return one audit of any tenant, deleted or not."""
        query = (
            select(audit, operation.c.kind)
            .outerjoin(operation, operation.c.id == audit.c.id)
            .where(audit.c.id == audit_id)
        )
        return self._database.read(
            lambda connection: _audit(connection, connection.execute(query).one())
        )

    def of_log(self, tenant: str, log: Digest) -> tuple[AuditOfLog, ...]:
        """Return all audits of a log, deleted ones too, in the order in which they were asked."""
        query = (
            select(
                audit.c.id,
                audit.c.state,
                audit.c.request_digest,
                audit.c.model_digest,
                audit.c.created,
            )
            .where(audit.c.tenant == tenant, audit.c.log_digest == log, audit.c.kind == AUDIT)
            .order_by(audit.c.id)
        )

        def work(connection: Connection) -> tuple[AuditOfLog, ...]:
            return tuple(
                AuditOfLog(
                    id=row.id,
                    state=AuditState(row.state),
                    request_digest=Digest(row.request_digest),
                    model_digest=None if row.model_digest is None else Digest(row.model_digest),
                    created=row.created,
                )
                for row in connection.execute(query)
            )

        return self._database.read(work)

    def actions(self, audit_id: str) -> tuple[ActionRow, ...]:
        """Return the audit's actions in the order in which they were planned."""

        def work(connection: Connection) -> tuple[ActionRow, ...]:
            query = (
                select(action, audit_action.c.cached)
                .join(audit_action, audit_action.c.action == action.c.id)
                .where(audit_action.c.audit == audit_id)
                .order_by(action.c.id)
            )
            return tuple(_action(row) for row in connection.execute(query))

        return self._database.read(work)

    def events(self, audit_id: str, *, after: int) -> tuple[EventRow, ...]:
        """Return the audit's events with a greater sequence, in order."""
        return self._database.read(lambda connection: events_after(connection, audit_id, after))

    def known_results(self, tenant: str, keys: Collection[ActionKey]) -> Mapping[ActionKey, Digest]:
        """Return the results that are there."""
        found = self._database.read(lambda connection: find_actions(connection, tenant, list(keys)))
        return {
            key: row.result
            for key, row in found.items()
            if row.state is ActionState.DONE and row.result is not None
        }

    def pending(self, tenant: str, keys: Collection[ActionKey]) -> frozenset[ActionKey]:
        """Return those of the actions that wait or run already, for other audits."""
        found = self._database.read(lambda connection: find_actions(connection, tenant, list(keys)))
        return frozenset(key for key, row in found.items() if row.state in PENDING_ACTIONS)

    def queued(self) -> Sequence[QueuedWork]:
        """Return what waits or runs."""
        return self._database.read(_queued)


def _queued(connection: Connection) -> tuple[QueuedWork, ...]:
    by = (action.c.tenant, action.c.group_key)
    query = (
        select(*by, func.count(), func.sum(action.c.lane_bytes))
        .where(action.c.state.in_(PENDING_ACTIONS))
        .group_by(*by)
    )
    return tuple(
        QueuedWork(
            tenant=tenant, group_key=Digest(group_key), lanes=int(lanes), lane_bytes=int(size)
        )
        for tenant, group_key, lanes, size in connection.execute(query)
    )


def audit_row(connection: Connection, tenant: str, audit_id: str) -> AuditRow:
    """Return one audit that is not deleted.

    Raises:
        ArtifactMissingError: If the tenant has no such audit.
    """
    query = (
        select(audit, operation.c.kind)
        .join(operation, operation.c.id == audit.c.id)
        .where(audit.c.tenant == tenant, audit.c.id == audit_id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ArtifactMissingError(
            f"audit {audit_id}",
            expected="an audit of this tenant",
            found="none",
            remedy="List the audits with `stageaudit report list`.",
        )
    return _audit(connection, row)


def _audit(connection: Connection, row: Row[Any]) -> AuditRow:
    seconds = connection.execute(
        select(func.sum(action.c.compute_seconds))
        .select_from(audit_action.join(action, audit_action.c.action == action.c.id))
        .where(audit_action.c.audit == row.id, audit_action.c.cached == 0)
    ).scalar_one()
    checked = found_by(connection, row.id) if row.kind == CHECK else None
    return AuditRow(
        id=row.id,
        tenant=row.tenant,
        request_digest=Digest(row.request_digest),
        log_digest=Digest(row.log_digest),
        model_digest=None if row.model_digest is None else Digest(row.model_digest),
        priority=row.priority,
        state=AuditState(row.state),
        round=row.round,
        deadline=row.deadline,
        operator=row.operator,
        error=None if row.error is None else failure_from(json.loads(row.error)),
        report_digest=None if row.report_digest is None else Digest(row.report_digest),
        created=row.created,
        started=row.started,
        finished=row.finished,
        updated=row.updated,
        progress=progress_of(connection, [row.id])[row.id],
        compute_seconds=seconds or 0.0,
        kind="check" if row.kind == CHECK else "audit",
        verdict=None if checked is None else checked.verdict,
        causes=() if checked is None else checked.causes,
    )


def _action(row: Row[Any]) -> ActionRow:
    return ActionRow(
        key=ActionKey(row.key),
        kind=row.kind,
        state=ActionState(row.state),
        cached=bool(row.cached),
        result=None if row.result_digest is None else Digest(row.result_digest),
        spec=row.spec,
        execution=None if row.execution_digest is None else Digest(row.execution_digest),
    )
