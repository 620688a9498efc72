"""Progress of audits and the events that tell it, written in the transaction that changes it."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, Connection, Row, bindparam, func, insert, select, update

from auditor.stagelog.digest import canonical_bytes
from service.records.jobs import EventRow, Progress
from service.records.plans import chunks
from service.records.tables import action, audit, audit_action, audit_event
from service.scheduler.states import ActionState, AuditState

# The statements are built once: building one costs more than a database takes to answer it.
_AUDITS: BindParameter[str] = bindparam("audits", expanding=True)
_PROGRESS = (
    select(audit_action.c.audit, action.c.state, audit_action.c.cached, func.count())
    .select_from(audit_action.join(action, audit_action.c.action == action.c.id))
    .where(audit_action.c.audit.in_(_AUDITS))
    .group_by(audit_action.c.audit, action.c.state, audit_action.c.cached)
)
_LAST = (
    select(func.coalesce(func.max(audit_event.c.sequence), 0))
    .where(audit_event.c.audit == audit.c.id)
    .scalar_subquery()
)
_STAND = select(audit.c.id, audit.c.state, _LAST.label("last")).where(audit.c.id.in_(_AUDITS))
_PLANNED = (
    select(audit.c.id)
    .where(audit.c.id.in_(_AUDITS), audit.c.state == AuditState.PLANNED)
    .order_by(audit.c.id)
    .with_for_update(skip_locked=True, key_share=True)
)
_START = (
    update(audit)
    .where(audit.c.id.in_(_AUDITS), audit.c.state == AuditState.PLANNED)
    .values(state=AuditState.RUNNING, started=bindparam("now"), updated=bindparam("now"))
)
_ADD = insert(audit_event)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """One line more of an audit's history."""

    audit: str
    kind: str
    message: str
    action_keys: Sequence[str] = ()
    action_kind: str = ""


def progress_of(connection: Connection, audit_ids: Collection[str]) -> Mapping[str, Progress]:
    """Return how many actions of each audit stand where."""
    rows: dict[str, list[tuple[str, int, int]]] = {audit_id: [] for audit_id in audit_ids}
    for chunk in chunks(list(rows)):
        for audit_id, state, cached, count in connection.execute(_PROGRESS, {"audits": chunk}):
            rows[audit_id].append((state, cached, count))
    return {
        audit_id: Progress(
            actions=sum(count for _, _, count in theirs),
            cached=sum(count for _, cached, count in theirs if cached),
            done=sum(count for state, _, count in theirs if state == ActionState.DONE),
            running=sum(count for state, _, count in theirs if state == ActionState.LEASED),
        )
        for audit_id, theirs in rows.items()
    }


def add_event(
    connection: Connection, audit_id: str, kind: str, *, now: float, message: str
) -> Progress:
    """Append an event and return the progress it tells."""
    event = NewEvent(audit=audit_id, kind=kind, message=message)
    return add_events(connection, [event], now=now)[audit_id]


def add_events(
    connection: Connection, events: Sequence[NewEvent], *, now: float
) -> Mapping[str, Progress]:
    """Append one event to each of several audits and return the progress they tell."""
    ids = [event.audit for event in events]
    progress = progress_of(connection, ids)
    stands = {row.id: row for row in _stand_of(connection, ids)}
    if not events:
        return {}
    rows = []
    for event in events:
        counted = progress[event.audit]
        body = {
            "state": stands[event.audit].state,
            "actions": counted.actions,
            "cached": counted.cached,
            "done": counted.done,
            "running": counted.running,
            "action_key": event.action_keys[0] if len(event.action_keys) == 1 else "",
            "action_kind": event.action_kind,
            "message": event.message,
        }
        rows.append({
            "audit": event.audit,
            "sequence": stands[event.audit].last + 1,
            "kind": event.kind,
            "body": canonical_bytes(body).decode(),
            "created": now,
        })
    connection.execute(_ADD, rows)
    return progress


def _stand_of(connection: Connection, ids: Sequence[str]) -> Iterator[Row[str, str, int]]:
    """Yield id, state and last event of these audits."""
    for chunk in chunks(ids):
        yield from connection.execute(_STAND, {"audits": chunk})


def start_audits(connection: Connection, audits: Collection[str], *, now: float) -> None:
    """Move planned audits to RUNNING: some of their actions are on a device.

    One that another front end moves at the moment is left to it: claims never wait for one another.
    """
    for chunk in chunks(list(dict.fromkeys(audits))):
        started = connection.scalars(_PLANNED, {"audits": chunk}).all()
        if not started:
            continue
        connection.execute(_START, {"audits": started, "now": now})
        events = [
            NewEvent(audit=audit_id, kind="running", message="the first actions run")
            for audit_id in started
        ]
        add_events(connection, events, now=now)


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
