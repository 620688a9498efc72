"""Progress of audits and the events that tell it, written in the transaction that changes it."""

import json
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, insert, select, update

from auditor.stagelog.digest import canonical_bytes
from service.records.jobs import EventRow, Progress
from service.records.tables import action, audit, audit_action, audit_event
from service.scheduler.states import ActionState, AuditState


def progress_of(connection: Connection, audit_id: str) -> Progress:
    """Return how many actions of the audit stand where."""
    query = (
        select(action.c.state, audit_action.c.cached, func.count())
        .select_from(audit_action.join(action, audit_action.c.action == action.c.id))
        .where(audit_action.c.audit == audit_id)
        .group_by(action.c.state, audit_action.c.cached)
    )
    rows = connection.execute(query).all()
    return Progress(
        actions=sum(count for _, _, count in rows),
        cached=sum(count for _, cached, count in rows if cached),
        done=sum(count for state, _, count in rows if state == ActionState.DONE),
        running=sum(count for state, _, count in rows if state == ActionState.LEASED),
    )


def add_event(
    connection: Connection,
    audit_id: str,
    kind: str,
    *,
    now: float,
    message: str,
    action_keys: Sequence[str] = (),
    action_kind: str = "",
) -> Progress:
    """Append an event and return the progress it tells."""
    progress = progress_of(connection, audit_id)
    state = connection.execute(select(audit.c.state).where(audit.c.id == audit_id)).scalar_one()
    last = connection.execute(
        select(func.max(audit_event.c.sequence)).where(audit_event.c.audit == audit_id)
    ).scalar_one()
    body = {
        "state": state,
        "actions": progress.actions,
        "cached": progress.cached,
        "done": progress.done,
        "running": progress.running,
        "action_key": action_keys[0] if len(action_keys) == 1 else "",
        "action_kind": action_kind,
        "message": message,
    }
    connection.execute(
        insert(audit_event).values(
            audit=audit_id,
            sequence=(last or 0) + 1,
            kind=kind,
            body=canonical_bytes(body).decode(),
            created=now,
        )
    )
    return progress


def start_audits(connection: Connection, audits: Collection[str], *, now: float) -> None:
    """Move planned audits to RUNNING: some of their actions are on a device.

    One that another front end moves at the moment is left to it: claims never wait for one another.
    """
    planned = (
        select(audit.c.id)
        .where(audit.c.id.in_(list(audits)), audit.c.state == AuditState.PLANNED)
        .order_by(audit.c.id)
        .with_for_update(skip_locked=True, key_share=True)
    )
    for audit_id in connection.scalars(planned).all():
        moved = connection.execute(
            update(audit)
            .where(audit.c.id == audit_id, audit.c.state == AuditState.PLANNED)
            .values(state=AuditState.RUNNING, started=now, updated=now)
        )
        if moved.rowcount == 1:
            add_event(connection, audit_id, "running", now=now, message="the first actions run")


def events_after(connection: Connection, audit_id: str, after: int) -> tuple[EventRow, ...]:
    """Return the events with a greater sequence, in order."""
    query = (
        select(audit_event)
        .where(audit_event.c.audit == audit_id, audit_event.c.sequence > after)
        .order_by(audit_event.c.sequence)
    )
    events = []
    for row in connection.execute(query):
        body = json.loads(row.body)
        progress = Progress(
            actions=body["actions"],
            cached=body["cached"],
            done=body["done"],
            running=body["running"],
        )
        events.append(
            EventRow(
                sequence=row.sequence,
                created=row.created,
                kind=row.kind,
                state=AuditState(body["state"]),
                progress=progress,
                action_key=body["action_key"],
                action_kind=body["action_kind"],
                message=body["message"],
            )
        )
    return tuple(events)
