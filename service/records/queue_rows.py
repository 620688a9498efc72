"""How many actions wait, counted by the database: the queue may be long, its summary is not."""

from sqlalchemy import Connection, Float, and_, bindparam, case, func, select

from auditor.stagelog.digest import Digest
from service.records.jobs import QueueRow
from service.records.tables import action
from service.scheduler.states import PENDING_ACTIONS, ActionState

_IS_LEASED = action.c.state == ActionState.LEASED
_IS_READY = and_(
    action.c.state == ActionState.READY, action.c.not_before <= bindparam("now", type_=Float)
)
_COLUMNS = (
    action.c.tenant,
    action.c.kind,
    action.c.group_key,
    action.c.priority,
    action.c.deadline,
)
# Built once, like those of a claim. An action is pending only while a live audit wants it, and its
# row has the highest priority and the first deadline of those: no audit has to be read.
_COUNT = (
    select(
        *_COLUMNS,
        func.count(),
        func.sum(case((_IS_READY, 1), else_=0)),
        func.sum(case((_IS_LEASED, 1), else_=0)),
        func.min(case((_IS_READY, action.c.not_before))),
        func.sum(case((_IS_READY, action.c.lane_bytes), else_=0)),
    )
    .where(action.c.state.in_(PENDING_ACTIONS))
    .group_by(*_COLUMNS)
    .order_by(*_COLUMNS)
)


def queue_rows(connection: Connection, *, now: float) -> tuple[QueueRow, ...]:
    """Return the actions that live audits want and that are not done.

    Args:
        connection: Inside a transaction.
        now: Seconds since 1970.

    Returns:
        One row for each tenant, group key, priority and deadline.
    """
    rows = []
    for row in connection.execute(_COUNT, {"now": now}):
        # Unpacked: a name costs more than all the rest of a row.
        tenant, kind, group_key, priority, deadline, actions, ready, leased, since, cost = row
        rows.append(
            QueueRow(
                tenant=tenant,
                kind=kind,
                group_key=Digest(group_key),
                priority=priority,
                deadline=deadline,
                ready=int(ready),
                blocked=int(actions) - int(ready) - int(leased),
                leased=int(leased),
                oldest_seconds=0.0 if since is None else now - since,
                cost_bytes=int(cost),
            )
        )
    return tuple(rows)
