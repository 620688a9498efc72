"""What the scheduler looks at when it starts and when time passes, in SQL."""

from collections.abc import Callable, Mapping
from typing import final

from sqlalchemy import ColumnElement, Connection, case, exists, func, or_, select, update

from auditor.stagelog.digest import Digest
from service.records.engine import Database
from service.records.front_end import ALONE, FrontEnd
from service.records.jobs import Lease, LeasedAction, QueueRow
from service.records.queue import leased_actions
from service.records.queue_rows import queue_rows
from service.records.tables import action, audit, audit_action
from service.scheduler.leases import RETURN_LIMIT
from service.scheduler.states import LIVE_AUDITS, PENDING_ACTIONS, ActionState

ABANDONED_SECONDS = 2.0
"""How long after its end a lease is left to the front end that gave it."""


@final
class SqlUpkeep:
    """The :class:`service.records.passing_time.SchedulerRecords` of a database.

    Args:
        database: Where the rows are.
        now: Seconds since 1970.
        front_end: Which one looks.
    """

    def __init__(
        self, database: Database, *, now: Callable[[], float], front_end: FrontEnd = ALONE
    ) -> None:
        self._database = database
        self._now = now
        self._front_end = front_end

    def recover(self) -> int:
        """Put back every leased action of workers that no longer exist and return how many.

        Workers end with their front end, so when it starts its leases are void; those of others
        are left to them or to their expiry. Attempts are given back, unless that happened too
        often: then something about the action ends front ends.
        """

        def work(connection: Connection) -> int:
            now = self._now()
            given_back = action.c.returned < RETURN_LIMIT
            moved = connection.execute(
                update(action)
                .where(action.c.state == ActionState.LEASED, self._front_end.owns)
                .values(
                    state=ActionState.READY,
                    fence=action.c.fence + 1,
                    attempt=case((given_back, action.c.attempt - 1), else_=action.c.attempt),
                    returned=case((given_back, action.c.returned + 1), else_=action.c.returned),
                    lease_owner=None,
                    lease_until=None,
                    not_before=now,
                )
            )
            return int(moved.rowcount)

        return self._database.write("recover", work)

    def expire(self) -> Mapping[Lease, LeasedAction]:
        """Return actions of this front end's workers whose lease has run out."""
        return self._run_out(self._front_end.owns, seconds=0.0)

    def abandoned(self) -> Mapping[Lease, LeasedAction]:
        """Return actions whose lease ran out at a front end that does nothing about it.

        One that lives ends its own leases first; one that does not has left these behind.
        """
        return self._run_out(~self._front_end.owns, seconds=ABANDONED_SECONDS)

    def _run_out(
        self, owned: ColumnElement[bool], *, seconds: float
    ) -> Mapping[Lease, LeasedAction]:
        def work(connection: Connection) -> Mapping[Lease, LeasedAction]:
            now = self._now()
            query = select(action.c.id).where(
                action.c.state == ActionState.LEASED, action.c.lease_until < now - seconds, owned
            )
            rows = leased_actions(connection, list(connection.scalars(query)), now=now)
            return {row.lease: row for row in rows}

        return self._database.read(work)

    def saved(self) -> frozenset[Digest]:
        """Return the states that pending actions may go on from."""

        def work(connection: Connection) -> frozenset[Digest]:
            query = select(action.c.saved_digest).where(
                action.c.saved_digest.is_not(None), action.c.state.in_(PENDING_ACTIONS)
            )
            return frozenset(Digest(digest) for digest in connection.scalars(query))

        return self._database.read(work)

    def settled(self) -> tuple[str, ...]:
        """Return live audits with no action left to compute that nobody else carries on."""

        def work(connection: Connection) -> tuple[str, ...]:
            now = self._now()
            free = or_(
                audit.c.carrier.is_(None),
                audit.c.carrier == self._front_end.id,
                audit.c.carried_until < now,
            )
            unfinished = exists().where(
                audit_action.c.audit == audit.c.id,
                action.c.id == audit_action.c.action,
                action.c.state != ActionState.DONE,
            )
            query = (
                select(audit.c.id)
                .where(audit.c.state.in_(LIVE_AUDITS), free, ~unfinished)
                .order_by(audit.c.id)
            )
            return tuple(connection.scalars(query))

        return self._database.read(work)

    def overdue(self) -> tuple[str, ...]:
        """Return live audits past their deadline."""

        def work(connection: Connection) -> tuple[str, ...]:
            query = select(audit.c.id).where(
                audit.c.state.in_(LIVE_AUDITS), audit.c.deadline < self._now()
            )
            return tuple(connection.scalars(query))

        return self._database.read(work)

    def queue(self) -> tuple[QueueRow, ...]:
        """Return how many wanted actions are not done, and where they stand."""
        return self._database.read(lambda connection: queue_rows(connection, now=self._now()))

    def next_retry(self) -> float | None:
        """Return when the next delayed action is ready, seconds since 1970; None if none is."""
        query = select(func.min(action.c.not_before)).where(
            action.c.state == ActionState.READY, action.c.not_before > self._now()
        )

        def work(connection: Connection) -> float | None:
            moment: float | None = connection.execute(query).scalar_one()
            return moment

        return self._database.read(work)
