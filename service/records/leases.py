"""Actions handed to workers and back, in SQL; every move of a leased action names its fence."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

from sqlalchemy import BindParameter, Connection, bindparam, func, select, update

from auditor.plan.actions import ActionKey
from service.failures import Failure
from service.records.endings import end_audits
from service.records.engine import Database, Isolation
from service.records.front_end import ALONE, FrontEnd
from service.records.history import NewEvent, add_events, start_audits
from service.records.jobs import (
    Cancelled,
    Changed,
    Claim,
    Completion,
    GiveUp,
    Lease,
    Retry,
)
from service.records.leasing import WaitingGroup
from service.records.plans import chunks, count_unmet, note_urgency, revive
from service.records.queue import audits_wanting, lease_group
from service.records.ready_work import SqlReadyWork
from service.records.saved_step import SavedStep
from service.records.tables import action, action_dep
from service.scheduler.batch_delay import Launch
from service.scheduler.batching import any_size, choose
from service.scheduler.ready import ReadyAction, level_of
from service.scheduler.states import ActionState

_UNSAVED: Mapping[str, None] = {"saved_digest": None, "saved_step": None}
# The statements are built once: building one costs more than a database takes to answer it.
_IDS: BindParameter[int] = bindparam("ids", expanding=True)
_HELD = (
    select(action.c.id, action.c.fence)
    .where(action.c.id.in_(_IDS), action.c.state == ActionState.LEASED)
    .with_for_update()
)
_STORE_RESULT = (
    update(action)
    .where(action.c.id == bindparam("leased"))
    .values(
        state=ActionState.DONE,
        lease_owner=None,
        lease_until=None,
        result_digest=bindparam("digest"),
        result_size=bindparam("size"),
        gradient_examples=bindparam("examples"),
        compute_seconds=bindparam("seconds"),
        group_lanes=bindparam("lanes"),
        execution_digest=bindparam("execution"),
        used=bindparam("now"),
        **_UNSAVED,
    )
)
_MET = (
    select(func.count())
    .where(action_dep.c.action == action.c.id, action_dep.c.needs.in_(_IDS))
    .scalar_subquery()
)
_WAITING = (
    action.c.id.in_(select(action_dep.c.action).where(action_dep.c.needs.in_(_IDS))),
    action.c.state == ActionState.BLOCKED,
)
_COUNT_DOWN = update(action).where(*_WAITING).values(unmet=action.c.unmet - _MET)
_FREE = (
    update(action)
    .where(*_WAITING, action.c.unmet == 0)
    .values(state=ActionState.READY, not_before=bindparam("now"))
)
_ABOUT = select(action.c.id, action.c.key, action.c.kind).where(action.c.id.in_(_IDS))


@final
class SqlLeases:
    """The :class:`service.records.leasing.LeaseRecords` of a database.

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
        bytes_of: Callable[[ReadyAction], float] = any_size,
        lease_seconds: float,
        launch: Launch,
        start_of: Callable[[str], float],
    ) -> Claim:
        """Lease the next group that may start for ``owner``."""

        def work(connection: Connection) -> Claim:
            now = self._now()
            ready = SqlReadyWork(connection, now=now, start_of=start_of)
            choice = choose(ready, lanes_of=lanes_of, bytes_of=bytes_of, launch=launch, now=now)
            if not choice.group:
                return Claim(group=None, due=choice.due)
            group = lease_group(
                connection,
                choice.group,
                owner=self._front_end.owner(owner),
                now=now,
                until=now + lease_seconds,
            )
            if group is not None:
                start_audits(connection, [a for row in group.actions for a in row.audits], now=now)
            return Claim(group=group)

        return self._database.write("claim", work, isolation=Isolation.ROWS)

    def overtaken(self, groups: Sequence[WaitingGroup]) -> bool:
        """Say whether something ready is more urgent than one of these groups."""

        def work(connection: Connection) -> bool:
            now = self._now()
            return any(_is_overtaken(connection, own, own.leases, now=now) for own in groups)

        return bool(groups) and self._database.read(work)

    def recall(self, group: WaitingGroup) -> bool:
        """Put a group back that has not begun if something more urgent is ready now."""

        def work(connection: Connection) -> bool:
            held = _held(connection, group.leases)
            if not _is_overtaken(connection, group, held, now=self._now()):
                return False
            connection.execute(
                update(action)
                .where(action.c.id.in_([lease.action for lease in held]))
                .values(
                    state=ActionState.READY,
                    attempt=action.c.attempt - 1,
                    lease_owner=None,
                    lease_until=None,
                )
            )
            return True

        return self._database.write("recall", work, isolation=Isolation.ROWS)

    def extend(self, leases: Sequence[Lease], *, lease_seconds: float) -> tuple[Lease, ...]:
        """Prolong leases and return those that are void."""

        def work(connection: Connection) -> tuple[Lease, ...]:
            held = _held(connection, leases)
            for chunk in chunks([lease.action for lease in held]):
                connection.execute(
                    update(action)
                    .where(action.c.id.in_(chunk))
                    .values(lease_until=self._now() + lease_seconds)
                )
            return tuple(lease for lease in leases if lease not in held)

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
            held = _held(connection, [completion.lease for completion in completions])
            done = [completion for completion in completions if completion.lease in held]
            _store_results(connection, done, now=now)
            ids = [completion.lease.action for completion in done]
            _free_dependants(connection, ids, now=now)
            audits = audits_wanting(connection, ids)
            start_audits(connection, list(audits), now=now)
            settled = _tell_done(connection, audits, ids, now=now)
            lost = tuple(c.lease for c in completions if c.lease not in held)
            return Changed(audits=tuple(audits), settled=settled, lost=lost)

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
            note_urgency(connection, again)
            return Changed(audits=tuple(audits_wanting(connection, ids)), lost=tuple(lost))

        return self._database.write("reopen", work)


def _is_overtaken(
    connection: Connection, group: WaitingGroup, leases: Collection[Lease], *, now: float
) -> bool:
    """Say whether something is ready of a smaller start tag, or an equal one and higher level."""
    ready = SqlReadyWork(connection, now=now, start_of=group.start_of)
    first = ready.first()
    rows = ready.among([lease.action for lease in leases])

    def urgency(row: ReadyAction) -> tuple[float, float]:
        return group.start_of(row.tenant), -level_of(row, now=now)

    return first is not None and bool(rows) and urgency(first) < min(map(urgency, rows))


def _held(connection: Connection, leases: Sequence[Lease]) -> frozenset[Lease]:
    """Return those of the leases that hold, and keep them so until the transaction ends."""
    wanted = set(leases)
    held: set[Lease] = set()
    for chunk in chunks([lease.action for lease in leases]):
        rows = connection.execute(_HELD, {"ids": chunk})
        held |= {Lease(action=row.id, fence=row.fence) for row in rows}
    return frozenset(held & wanted)


def _store_results(
    connection: Connection, completions: Sequence[Completion], *, now: float
) -> None:
    """Move actions whose leases hold to DONE, with their results."""
    if not completions:
        return
    connection.execute(
        _STORE_RESULT,
        [
            {
                "leased": completion.lease.action,
                "digest": completion.digest,
                "size": completion.size,
                "examples": completion.gradient_examples,
                "seconds": completion.compute_seconds,
                "lanes": completion.lanes,
                "execution": completion.execution,
                "now": now,
            }
            for completion in completions
        ],
    )


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
    for chunk in chunks(ids):
        connection.execute(_COUNT_DOWN, {"ids": chunk})
        connection.execute(_FREE, {"ids": chunk, "now": now})


def _tell_done(
    connection: Connection, audits: Mapping[str, Sequence[int]], ids: Sequence[int], *, now: float
) -> tuple[str, ...]:
    """Write one event an audit about the group; return the audits with nothing left to compute."""
    about = {
        row.id: (row.key, row.kind)
        for chunk in chunks(ids)
        for row in connection.execute(_ABOUT, {"ids": chunk})
    }
    events = []
    for audit_id, theirs in audits.items():
        kind = about[theirs[0]][1]
        events.append(
            NewEvent(
                audit=audit_id,
                kind="action_done",
                message=kind if len(theirs) == 1 else f"{len(theirs)} × {kind}",
                action_keys=[about[action_id][0] for action_id in theirs],
                action_kind=kind,
            )
        )
    progress = add_events(connection, events, now=now)
    return tuple(a for a in audits if progress[a].done == progress[a].actions)
