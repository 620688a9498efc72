"""The ready actions of a database, in the order that :mod:`service.scheduler.ready` names.

What is sorted stays in the database: a claim reads the head and its group and no other row. Tests
have the order once more, for one action, and compare.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, final

from sqlalchemy import Connection, Float, Row, Select, bindparam, case, cast, func, select

from auditor.stagelog.digest import Digest
from service.records.tables import action
from service.scheduler.ready import (
    AGEING_SECONDS,
    DEADLINE_SECONDS,
    ReadyAction,
    level_of,
    log_named,
)
from service.scheduler.states import ActionState

_COLUMNS = (
    action.c.id,
    action.c.tenant,
    action.c.kind,
    action.c.group_key,
    action.c.fixed_bytes,
    action.c.lane_bytes,
    action.c.priority,
    action.c.deadline,
    action.c.height,
    action.c.not_before,
    action.c.max_lanes,
    action.c.spec,
)

# ``floor(x)`` for databases without it: round(x - .499999) differs within a millionth only.
_FLOOR = 0.499999

# The statements are built once: building one costs more than a database takes to answer it. What
# a claim chooses from is locked; what another front end has locked is left out and not waited for.
# SQLite has one writer and no such locks.
_STARTABLE = (action.c.state == ActionState.READY, action.c.not_before <= bindparam("now"))
_AGED = func.round((bindparam("now", type_=Float) - action.c.not_before) / AGEING_SECONDS - _FLOOR)
_URGENCY = (
    (action.c.priority + _AGED).desc(),
    func.round(cast(action.c.deadline, Float) / DEADLINE_SECONDS - _FLOOR),
    action.c.height.desc(),
    action.c.id,
)
_TENANTS = select(action.c.tenant).where(*_STARTABLE).distinct()
_FIRST = (
    select(action.c.id)
    .where(
        *_STARTABLE,
        action.c.tenant.in_(bindparam("tenants", expanding=True)),
        action.c.group_key.not_in(bindparam("passed_over", expanding=True)),
    )
    .order_by(*_URGENCY)
    .limit(1)
)
_HEAD = _FIRST.with_for_update(skip_locked=True, key_share=True)
_ONE = select(*_COLUMNS).where(action.c.id == bindparam("id"))
_COMPANIONS = (
    select(*_COLUMNS)
    .where(*_STARTABLE, action.c.group_key == bindparam("group_key"))
    .with_for_update(skip_locked=True, key_share=True)
)
_AMONG = select(*_COLUMNS).where(
    action.c.id.in_(bindparam("ids", expanding=True)), action.c.state == ActionState.LEASED
)
_BLOCKED_TENANTS = select(action.c.tenant).where(action.c.state == ActionState.BLOCKED).distinct()
_MORE_URGENT = (
    select(action.c.id)
    .where(
        action.c.state == ActionState.BLOCKED,
        action.c.tenant.in_(bindparam("tenants", expanding=True)),
        action.c.priority > bindparam("level"),
    )
    .limit(1)
)
_TO_COME = select(func.count()).where(
    action.c.state == ActionState.BLOCKED, action.c.group_key == bindparam("group_key")
)


@final
class SqlReadyWork:
    """The :class:`service.scheduler.batching.ReadyWork` of one transaction.

    Args:
        connection: Of the transaction.
        now: Seconds since 1970.
        start_of: Start tags of tenants; the smallest is served first.
    """

    def __init__(
        self, connection: Connection, *, now: float, start_of: Callable[[str], float]
    ) -> None:
        self._connection = connection
        self._now = now
        self._start_of = start_of
        self._turns = self._tenants_in_turn()

    def head(self, *, passed_over: Collection[Digest]) -> ReadyAction | None:
        """Return the first action whose group key is not among these; None if there is none."""
        return self._find(_HEAD, passed_over=passed_over)

    def first(self) -> ReadyAction | None:
        """Return the first action of all, which somebody else may take meanwhile."""
        return self._find(_FIRST, passed_over=())

    def _find(
        self, statement: Select[tuple[int]], *, passed_over: Collection[Digest]
    ) -> ReadyAction | None:
        given = {"now": self._now, "passed_over": sorted(passed_over)}
        for tenants in self._turns:
            found = self._connection.execute(statement, given | {"tenants": tenants}).first()
            if found is not None:
                return _ready_action(self._connection.execute(_ONE, {"id": found.id}).one())
        return None

    def companions(self, head: ReadyAction, *, limit: int) -> Sequence[ReadyAction]:
        """Return the first ``limit`` actions of the head's group key, itself included."""
        turn = {tenant: n for n, tenants in enumerate(self._turns) for tenant in tenants}
        in_turn = case(turn, value=action.c.tenant, else_=len(turn))
        query = _COMPANIONS.order_by(in_turn, *_URGENCY).limit(limit)
        given = {"now": self._now, "group_key": head.group_key}
        return tuple(_ready_action(row) for row in self._connection.execute(query, given))

    def among(self, ids: Sequence[int]) -> Sequence[ReadyAction]:
        """Return actions that are leased as they were when they were ready."""
        return tuple(_ready_action(row) for row in self._connection.execute(_AMONG, {"ids": ids}))

    def outranked(self, head: ReadyAction) -> bool:
        """Say whether something that waits for results will go before the head."""
        start = self._start_of(head.tenant)
        level = []
        for tenant in self._connection.scalars(_BLOCKED_TENANTS):
            if self._start_of(tenant) < start:
                return True
            if self._start_of(tenant) == start:
                level.append(tenant)
        given = {"tenants": level, "level": level_of(head, now=self._now)}
        return self._connection.execute(_MORE_URGENT, given).first() is not None

    def to_come(self, group_key: Digest) -> int:
        """Return how many actions of this key still wait for results."""
        return int(self._connection.execute(_TO_COME, {"group_key": group_key}).scalar_one())

    def _tenants_in_turn(self) -> tuple[tuple[str, ...], ...]:
        """Return the tenants with something ready, those with equal start tags together."""
        by_start: dict[float, list[str]] = {}
        for tenant in self._connection.scalars(_TENANTS, {"now": self._now}):
            by_start.setdefault(self._start_of(tenant), []).append(tenant)
        return tuple(tuple(by_start[start]) for start in sorted(by_start))


def _ready_action(row: Row[*tuple[Any, ...]]) -> ReadyAction:
    return ReadyAction(
        id=row.id,
        tenant=row.tenant,
        kind=row.kind,
        group_key=Digest(row.group_key),
        fixed_bytes=row.fixed_bytes,
        lane_bytes=row.lane_bytes,
        priority=row.priority,
        deadline=row.deadline,
        height=row.height,
        ready_since=row.not_before,
        max_lanes=row.max_lanes,
        log=log_named(row.spec),
    )
