"""Ends audits, and with them the actions that nobody wants any more."""

from collections.abc import Sequence

from sqlalchemy import Connection, exists, select, update

from service.failures import Failure
from service.records.checks import note_failed_check
from service.records.history import add_event
from service.records.jobs import Cancelled, Lease
from service.records.plans import chunks, note_urgency
from service.records.tables import action, audit, audit_action
from service.scheduler.states import (
    LIVE_AUDITS,
    PENDING_ACTIONS,
    ActionState,
    AuditState,
    sources_of,
)


def end_audits(
    connection: Connection, audit_ids: Sequence[str], *, failure: Failure | None, now: float
) -> Cancelled:
    """Fail the audits, or cancel them without a failure; those that are over stay as they are."""
    state = AuditState.CANCELLED if failure is None else AuditState.FAILED
    ended: list[str] = []
    for audit_id in audit_ids:
        moved = connection.execute(
            update(audit)
            .where(audit.c.id == audit_id, audit.c.state.in_(sources_of(state)))
            .values(
                state=state,
                error=None if failure is None else failure.to_json(),
                finished=now,
                updated=now,
            )
        )
        if moved.rowcount == 1:
            ended.append(audit_id)
    revoked = _cancel_unwanted(connection, ended)
    for audit_id in ended:
        message = "cancelled" if failure is None else f"{failure.where}: {failure.remedy}"
        add_event(connection, audit_id, state.lower(), now=now, message=message)
        if failure is not None:
            note_failed_check(connection, audit_id, failure=failure, now=now)
    return Cancelled(audits=tuple(ended), revoked=revoked)


def _cancel_unwanted(connection: Connection, ended: Sequence[str]) -> tuple[Lease, ...]:
    """Cancel pending actions of ended audits that no live audit wants; return their leases."""
    wanted = exists().where(
        audit_action.c.action == action.c.id,
        audit_action.c.audit == audit.c.id,
        audit.c.state.in_(LIVE_AUDITS),
    )
    revoked: list[Lease] = []
    for chunk in chunks(ended):
        theirs = select(audit_action.c.action).where(audit_action.c.audit.in_(chunk))
        unwanted = connection.execute(
            select(action.c.id, action.c.fence, action.c.state).where(
                action.c.id.in_(theirs), action.c.state.in_(PENDING_ACTIONS), ~wanted
            )
        ).all()
        revoked += [
            Lease(action=r.id, fence=r.fence) for r in unwanted if r.state == ActionState.LEASED
        ]
        for ids in chunks([row.id for row in unwanted]):
            connection.execute(
                update(action)
                .where(action.c.id.in_(ids), action.c.state.in_(PENDING_ACTIONS))
                .values(state=ActionState.CANCELLED, lease_owner=None, lease_until=None)
            )
        kept = select(action.c.id).where(
            action.c.id.in_(theirs), action.c.state.in_(PENDING_ACTIONS)
        )
        note_urgency(connection, list(connection.scalars(kept)))
    return tuple(revoked)
