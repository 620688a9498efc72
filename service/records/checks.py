"""What checks said about logs, in SQL; written in the transaction that ends the check."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import final

from sqlalchemy import Connection, insert, select, update

from auditor.errors import NumericalError, StageLogError
from service.failures import Failure
from service.records.base import StageLogRow
from service.records.checked_log import CheckedLog
from service.records.engine import Database
from service.records.history import add_event
from service.records.tables import audit, log_check, operation
from service.scheduler.states import LIVE_AUDITS, AuditState

CHECK = "check"

_AGAINST_THE_LOG = frozenset({StageLogError.code, NumericalError.code})
"""Failures that say something about the log: other ones are about the service or the request."""


@final
class SqlLogChecks:
    """The :class:`service.records.jobs.LogCheckRecords` of a database.

    Args:
        database: Where the rows are.
        now: Seconds since 1970.
    """

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    def finish(self, check: str, found: CheckedLog) -> bool:
        """Store what was found and move the check to SUCCEEDED together.

        Returns:
            False if the check was over before; then nothing is stored.
        """

        def work(connection: Connection) -> bool:
            now = self._now()
            row = connection.execute(
                update(audit)
                .where(audit.c.id == check, audit.c.state.in_(LIVE_AUDITS))
                .values(state=AuditState.SUCCEEDED, finished=now, updated=now)
                .returning(audit.c.tenant, audit.c.log_digest)
            ).one_or_none()
            if row is None:
                return False
            connection.execute(
                insert(log_check).values(
                    id=check,
                    tenant=row.tenant,
                    log_digest=row.log_digest,
                    complete=int(found.complete),
                    consistent=int(found.consistent),
                    causes=json.dumps(found.causes),
                    verdict=found.verdict,
                    created=now,
                )
            )
            message = "the log is consistent" if found.consistent else "the log is unusable"
            add_event(connection, check, "succeeded", now=now, message=message)
            return True

        return self._database.write("finish_check", work)


def note_failed_check(connection: Connection, check: str, *, failure: Failure, now: float) -> None:
    """Mark the log of a check that failed because of it; a failed audit marks nothing."""
    if failure.code not in _AGAINST_THE_LOG:
        return
    row = connection.execute(
        select(audit.c.tenant, audit.c.log_digest)
        .join(operation, operation.c.id == audit.c.id)
        .where(audit.c.id == check, operation.c.kind == CHECK)
    ).one_or_none()
    if row is not None:
        cause = f"{failure.where}: expected {failure.expected}, found {failure.found}"
        connection.execute(
            insert(log_check).values(
                id=check,
                tenant=row.tenant,
                log_digest=row.log_digest,
                complete=0,
                consistent=0,
                causes=json.dumps([cause]),
                verdict=None,
                created=now,
            )
        )


def found_by(connection: Connection, check: str) -> CheckedLog | None:
    """Return what a check found that came to a verdict."""
    query = select(log_check).where(log_check.c.id == check, log_check.c.verdict.is_not(None))
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return CheckedLog(
        complete=bool(row.complete),
        consistent=bool(row.consistent),
        causes=tuple(json.loads(row.causes)),
        verdict=row.verdict,
    )


def with_standing(connection: Connection, tenant: str, row: StageLogRow) -> StageLogRow:
    """Return the row of a log with what the checks of it said.

    The newest check that failed or replayed everything decides: a sample that holds says nothing
    about the segments that it left out.
    """
    query = (
        select(log_check)
        .where(log_check.c.tenant == tenant, log_check.c.log_digest == row.digest)
        .order_by(log_check.c.id.desc())
    )
    for check in connection.execute(query):
        if not check.consistent:
            return replace(row, state="unusable", causes=tuple(json.loads(check.causes)))
        if check.complete:
            return replace(row, state="consistent")
    return row


def standings(
    connection: Connection, tenant: str, rows: Iterable[StageLogRow]
) -> tuple[StageLogRow, ...]:
    """Return the rows of logs with what the checks of them said."""
    return tuple(with_standing(connection, tenant, row) for row in rows)
