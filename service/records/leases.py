"""Actions handed to workers and back, in SQL; every move of a leased action names its fence."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

from sqlalchemy import Connection, select, update

from auditor.plan.actions import ActionKey
from service.failures import Failure
from service.records.endings import end_audits
from service.records.engine import Database, Isolation
from service.records.front_end import ALONE, FrontEnd
from service.records.history import add_event, start_audits
from service.records.jobs import (
    Cancelled,
    Changed,
    Completion,
    GiveUp,
    Lease,
    LeasedGroup,
    Retry,
    When,
)
from service.records.plans import chunks, count_unmet, revive
from service.records.queue import (
    audits_wanting,
    growing_groups,
    lease_group,
    lock_ready,
    ready_actions,
)
from service.records.saved_step import SavedStep
from service.records.tables import action, action_dep
from service.scheduler.batching import next_group
from service.scheduler.ready import ReadyAction
from service.scheduler.states import ActionState

_UNSAVED: Mapping[str, None] = {"saved_digest": None, "saved_step": None}


@final
class SqlLeases:
    """The :class:`service.records.jobs.LeaseRecords` of a database.

    Args:
        database: Where the rows are.
        now: Seconds since 1970.
        front_end: Whose workers these are.
    """

    def __init__(
        self, database: Database, *, now: Callable[[], float], front_end: FrontEnd = ALONE
    ) -> None:
        self._database = database
        self._now = now
        self._front_end = front_end

    def claim(
        self,
        owner: str,
        *,
        lanes_of: Callable[[ReadyAction], int],
        lease_seconds: float,
        when: When,
        start_of: Callable[[str], float],
    ) -> LeasedGroup | None:
        """Lease the next group for ``owner``; None when nothing is ready."""

        def work(connection: Connection) -> LeasedGroup | None:
            now = self._now()
            ready = ready_actions(connection, now=now)
            if when is When.AHEAD and ready:
                growing = growing_groups(connection)
                ready = tuple(row for row in ready if row.group_key not in growing)
            while True:
                chosen = next_group(ready, lanes_of=lanes_of, now=now, start_of=start_of)
                if not chosen:
                    return None
                held = lock_ready(connection, chosen)
                if held:
                    break
                taken = set(chosen)  # by another front end
                ready = tuple(row for row in ready if row not in taken)
            group = lease_group(
                connection,
                held,
                owner=self._front_end.owner(owner),
                now=now,
                until=now + lease_seconds,
            )
            start_audits(connection, [a for row in group.actions for a in row.audits], now=now)
            return group

        return self._database.write("claim", work, isolation=Isolation.ROWS)

    def extend(self, leases: Sequence[Lease], *, lease_seconds: float) -> tuple[Lease, ...]:
        """Prolong leases and return those that are void."""

        def work(connection: Connection) -> tuple[Lease, ...]:
            until = self._now() + lease_seconds
            return tuple(
                lease for lease in leases if not _move(connection, lease, lease_until=until)
            )

        return self._database.write("extend_leases", work, isolation=Isolation.ROWS)

    def save(self, saved: Mapping[Lease, SavedStep]) -> int:
        """Note where leased actions can go on from and return how many leases still held."""

        def work(connection: Connection) -> int:
            return sum(
                _move(connection, lease, saved_digest=own.digest, saved_step=own.step)
                for lease, own in saved.items()
            )

        return self._database.write("save", work)

    def complete(self, completions: Sequence[Completion]) -> Changed:
        """Store results of one group in one transaction and free what waited for them."""

        def work(connection: Connection) -> Changed:
            now = self._now()
            done: list[Lease] = []
            lost: list[Lease] = []
            for completion in completions:
                moved = _move(
                    connection,
                    completion.lease,
                    state=ActionState.DONE,
                    lease_owner=None,
                    lease_until=None,
                    result_digest=completion.digest,
                    result_size=completion.size,
                    gradient_examples=completion.gradient_examples,
                    compute_seconds=completion.compute_seconds,
                    group_lanes=completion.lanes,
                    used=now,
                    **_UNSAVED,
                )
                (done if moved else lost).append(completion.lease)
            ids = [lease.action for lease in done]
            _free_dependants(connection, ids, now=now)
            audits = audits_wanting(connection, ids)
            start_audits(connection, list(audits), now=now)
            settled = _tell_done(connection, audits, ids, now=now)
            return Changed(audits=tuple(audits), settled=settled, lost=tuple(lost))

        return self._database.write("complete", work)

    def put_back(self, decisions: Mapping[Lease, Retry | GiveUp]) -> Changed:
        """End leases without results: each action is tried again or fails its audits."""

        def work(connection: Connection) -> Changed:
            now = self._now()
            lost: list[Lease] = []
            ended = Cancelled()
            for lease, decision in decisions.items():
                if isinstance(decision, GiveUp):
                    moved = _fail(connection, lease, decision.failure)
                    if moved:
                        wanting = list(audits_wanting(connection, [lease.action]))
                        more = end_audits(connection, wanting, failure=decision.failure, now=now)
                        ended = Cancelled(
                            audits=ended.audits + more.audits, revoked=ended.revoked + more.revoked
                        )
                else:
                    moved = _retry(connection, lease, decision, now=now)
                if not moved:
                    lost.append(lease)
            audits = tuple(audits_wanting(connection, [lease.action for lease in decisions]))
            return Changed(audits=audits + ended.audits, lost=tuple(lost), ended=ended)

        return self._database.write("put_back", work)

    def reopen(self, gone: Collection[ActionKey], leases: Sequence[Lease]) -> Changed:
        """Compute results again that are gone; the leased actions that read them wait for them."""

        def work(connection: Connection) -> Changed:
            now = self._now()
            lost = [
                lease
                for lease in leases
                if not _retry(connection, lease, Retry(give_back=True), now=now)
            ]
            ids = [lease.action for lease in leases]
            query = (
                select(action.c.id)
                .join(action_dep, action_dep.c.needs == action.c.id)
                .where(
                    action_dep.c.action.in_(ids),
                    action.c.key.in_(list(gone)),
                    action.c.state == ActionState.DONE,
                )
                .distinct()
            )
            again = list(connection.scalars(query))
            revive(connection, again, now=now)
            count_unmet(connection, ids)
            return Changed(audits=tuple(audits_wanting(connection, ids)), lost=tuple(lost))

        return self._database.write("reopen", work)


def _move(connection: Connection, lease: Lease, **values: object) -> bool:
    """Change a leased action if the lease still holds."""
    moved = connection.execute(
        update(action)
        .where(
            action.c.id == lease.action,
            action.c.fence == lease.fence,
            action.c.state == ActionState.LEASED,
        )
        .values(**values)
    )
    return bool(moved.rowcount == 1)


def _retry(connection: Connection, lease: Lease, retry: Retry, *, now: float) -> bool:
    returned = 1 if retry.give_back else 0
    values: dict[str, object] = {
        "state": ActionState.READY,
        "lease_owner": None,
        "lease_until": None,
        "not_before": now + retry.delay_seconds,
        "attempt": action.c.attempt - returned,
        "returned": action.c.returned + returned,
        "deaths": action.c.deaths + (1 if retry.died else 0),
    }
    if retry.max_lanes is not None:
        # Halving says nothing about who interrupted: it does not use up the given-back attempts.
        values |= {"max_lanes": retry.max_lanes, "returned": action.c.returned}
    if retry.died:
        values |= _UNSAVED  # in case the state has to do with it
    return _move(connection, lease, **values)


def _fail(connection: Connection, lease: Lease, failure: Failure) -> bool:
    return _move(
        connection,
        lease,
        state=ActionState.FAILED,
        lease_owner=None,
        lease_until=None,
        error=failure.to_json(),
        **_UNSAVED,
    )


def _free_dependants(connection: Connection, ids: Sequence[int], *, now: float) -> None:
    """Count down what waits for these actions; what waits for nothing more is ready."""
    for action_id in ids:
        dependants = select(action_dep.c.action).where(action_dep.c.needs == action_id)
        waiting = action.c.id.in_(dependants), action.c.state == ActionState.BLOCKED
        connection.execute(update(action).where(*waiting).values(unmet=action.c.unmet - 1))
        connection.execute(
            update(action)
            .where(*waiting, action.c.unmet == 0)
            .values(state=ActionState.READY, not_before=now)
        )


def _tell_done(
    connection: Connection, audits: Mapping[str, Sequence[int]], ids: Sequence[int], *, now: float
) -> tuple[str, ...]:
    """Write one event an audit about the group; return the audits with nothing left to compute."""
    about = {
        row.id: (row.key, row.kind)
        for chunk in chunks(ids)
        for row in connection.execute(
            select(action.c.id, action.c.key, action.c.kind).where(action.c.id.in_(chunk))
        )
    }
    settled = []
    for audit_id, theirs in audits.items():
        kind = about[theirs[0]][1]
        progress = add_event(
            connection,
            audit_id,
            "action_done",
            now=now,
            message=kind if len(theirs) == 1 else f"{len(theirs)} × {kind}",
            action_keys=[about[action_id][0] for action_id in theirs],
            action_kind=kind,
        )
        if progress.done == progress.actions:
            settled.append(audit_id)
    return tuple(settled)
