"""How many actions wait, counted by the database: the queue may be long, its summary is not."""

from sqlalchemy import Connection, and_, case, func, select

from auditor.stagelog.digest import Digest
from service.records.jobs import QueueRow
from service.records.tables import action, audit, audit_action
from service.scheduler.states import LIVE_AUDITS, PENDING_ACTIONS, ActionState


def queue_rows(connection: Connection, *, now: float) -> tuple[QueueRow, ...]:
    """Return the actions that live audits want and that are not done.

    Args:
        connection: Inside a transaction.
        now: Seconds since 1970.

    Returns:
        One row for each tenant, group key, priority and deadline.
    """
    wanted = (
        select(
            action.c.tenant,
            action.c.kind,
            action.c.group_key,
            action.c.state,
            action.c.not_before,
            action.c.lane_bytes,
            func.max(audit.c.priority).label("priority"),
            func.min(audit.c.deadline).label("deadline"),
        )
        .join(audit_action, audit_action.c.action == action.c.id)
        .join(audit, audit.c.id == audit_action.c.audit)
        .where(action.c.state.in_(PENDING_ACTIONS), audit.c.state.in_(LIVE_AUDITS))
        .group_by(
            action.c.id,
            action.c.tenant,
            action.c.kind,
            action.c.group_key,
            action.c.state,
            action.c.not_before,
            action.c.lane_bytes,
        )
        .subquery()
    )
    is_leased = wanted.c.state == ActionState.LEASED
    is_ready = and_(wanted.c.state == ActionState.READY, wanted.c.not_before <= now)
    columns = (
        wanted.c.tenant,
        wanted.c.kind,
        wanted.c.group_key,
        wanted.c.priority,
        wanted.c.deadline,
    )
    query = (
        select(
            *columns,
            func.count().label("actions"),
            func.sum(case((is_ready, 1), else_=0)).label("ready"),
            func.sum(case((is_leased, 1), else_=0)).label("leased"),
            func.min(case((is_ready, wanted.c.not_before))).label("since"),
            func.sum(case((is_ready, wanted.c.lane_bytes), else_=0)).label("cost"),
        )
        .group_by(*columns)
        .order_by(*columns)
    )
    return tuple(
        QueueRow(
            tenant=row.tenant,
            kind=row.kind,
            group_key=Digest(row.group_key),
            priority=row.priority,
            deadline=row.deadline,
            ready=int(row.ready),
            blocked=int(row.actions) - int(row.ready) - int(row.leased),
            leased=int(row.leased),
            oldest_seconds=0.0 if row.since is None else now - row.since,
            cost_bytes=int(row.cost),
        )
        for row in connection.execute(query)
    )
