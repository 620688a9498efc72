"""The queue as rows: what is ready, what is leased, which audits want it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select, update

from auditor.errors import InternalError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.records.jobs import Lease, LeasedAction, LeasedGroup
from service.records.plans import chunks
from service.records.tables import action, action_dep, audit, audit_action
from service.scheduler.ready import ReadyAction
from service.scheduler.states import LIVE_AUDITS, ActionState


def ready_actions(connection: Connection, *, now: float) -> tuple[ReadyAction, ...]:
    """Return every action that could start now."""
    query = (
        select(
            action.c.id,
            action.c.tenant,
            action.c.kind,
            action.c.group_key,
            action.c.fixed_bytes,
            action.c.lane_bytes,
            action.c.not_before,
            action.c.max_lanes,
            action.c.height,
            func.max(audit.c.priority).label("priority"),
            func.min(audit.c.deadline).label("deadline"),
        )
        .join(audit_action, audit_action.c.action == action.c.id)
        .join(audit, audit.c.id == audit_action.c.audit)
        .where(
            action.c.state == ActionState.READY,
            action.c.not_before <= now,
            audit.c.state.in_(LIVE_AUDITS),
        )
        .group_by(
            action.c.id,
            action.c.tenant,
            action.c.kind,
            action.c.group_key,
            action.c.fixed_bytes,
            action.c.lane_bytes,
            action.c.not_before,
            action.c.max_lanes,
            action.c.height,
        )
    )
    return tuple(
        ReadyAction(
            id=row.id,
            tenant=row.tenant,
            kind=row.kind,
            group_key=Digest(row.group_key),
            fixed_bytes=row.fixed_bytes,
            lane_bytes=row.lane_bytes,
            priority=row.priority,
            deadline=row.deadline,
            ready_since=row.not_before,
            max_lanes=row.max_lanes,
            height=row.height,
        )
        for row in connection.execute(query)
    )


def growing_groups(connection: Connection) -> frozenset[Digest]:
    """Return the keys of groups that actions still waiting for results will join."""
    query = select(action.c.group_key).where(action.c.state == ActionState.BLOCKED).distinct()
    return frozenset(Digest(key) for key in connection.scalars(query))


def lock_ready(connection: Connection, chosen: Sequence[ReadyAction]) -> tuple[ReadyAction, ...]:
    """Lock what is still ready of the chosen actions, for this transaction, and return it.

    What another front end has locked or leased meanwhile is left out and not waited for. SQLite has
    one writer and no such locks.
    """
    query = (
        select(action.c.id)
        .where(action.c.id.in_([ready.id for ready in chosen]), action.c.state == ActionState.READY)
        .order_by(action.c.id)
        .with_for_update(skip_locked=True, key_share=True)
    )
    locked = frozenset(connection.scalars(query))
    return tuple(ready for ready in chosen if ready.id in locked)


def lease_group(
    connection: Connection,
    chosen: Sequence[ReadyAction],
    *,
    owner: str,
    now: float,
    until: float,
) -> LeasedGroup:
    """Lease the chosen actions together, each with a new fence and one attempt more."""
    ids = [ready.id for ready in chosen]
    leased = connection.execute(
        update(action)
        .where(action.c.id.in_(ids), action.c.state == ActionState.READY)
        .values(
            state=ActionState.LEASED,
            fence=action.c.fence + 1,
            attempt=action.c.attempt + 1,
            lease_owner=owner,
            lease_until=until,
            used=now,
        )
    )
    if leased.rowcount != len(ids):
        raise InternalError(
            "claim",
            expected=f"{len(ids)} ready actions",
            found=leased.rowcount,
            remedy="Report this with the service's log.",
        )
    actions = leased_actions(connection, ids, now=now)
    by_id = {row.lease.action: row for row in actions}
    return LeasedGroup(
        actions=tuple(by_id[action_id] for action_id in ids),
        results=_results_read_by(connection, ids),
    )


def leased_actions(
    connection: Connection, ids: Sequence[int], *, now: float
) -> tuple[LeasedAction, ...]:
    """Return what the scheduler knows about leased actions."""
    audits: dict[int, list[str]] = {action_id: [] for action_id in ids}
    for audit_id, theirs in audits_wanting(connection, ids).items():
        for action_id in theirs:
            audits[action_id].append(audit_id)
    priorities = _priorities(connection, ids)
    found = []
    for chunk in chunks(ids):
        for row in connection.execute(select(action).where(action.c.id.in_(chunk))):
            found.append(
                LeasedAction(
                    lease=Lease(action=row.id, fence=row.fence),
                    key=ActionKey(row.key),
                    tenant=row.tenant,
                    kind=row.kind,
                    group_key=Digest(row.group_key),
                    fixed_bytes=row.fixed_bytes,
                    lane_bytes=row.lane_bytes,
                    spec=row.spec,
                    attempt=row.attempt,
                    returned=row.returned,
                    deaths=row.deaths,
                    priority=priorities.get(row.id, 0),
                    waited_seconds=max(0.0, now - row.not_before),
                    audits=tuple(audits[row.id]),
                    saved=None if row.saved_digest is None else Digest(row.saved_digest),
                )
            )
    return tuple(found)


def audits_wanting(connection: Connection, ids: Sequence[int]) -> Mapping[str, Sequence[int]]:
    """Return the live audits that want any of these actions, each with the ones it wants."""
    wanting: dict[str, list[int]] = {}
    for chunk in chunks(ids):
        query = (
            select(audit_action.c.audit, audit_action.c.action)
            .join(audit, audit.c.id == audit_action.c.audit)
            .where(audit_action.c.action.in_(chunk), audit.c.state.in_(LIVE_AUDITS))
            .order_by(audit_action.c.audit, audit_action.c.action)
        )
        for audit_id, action_id in connection.execute(query):
            wanting.setdefault(audit_id, []).append(action_id)
    return wanting


def _priorities(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for chunk in chunks(ids):
        query = (
            select(audit_action.c.action, func.max(audit.c.priority).label("priority"))
            .join(audit, audit.c.id == audit_action.c.audit)
            .where(audit_action.c.action.in_(chunk), audit.c.state.in_(LIVE_AUDITS))
            .group_by(audit_action.c.action)
        )
        found |= {row.action: row.priority for row in connection.execute(query)}
    return found


def _results_read_by(connection: Connection, ids: Sequence[int]) -> dict[ActionKey, Digest]:
    results: dict[ActionKey, Digest] = {}
    for chunk in chunks(ids):
        query = (
            select(action.c.key, action.c.result_digest)
            .join(action_dep, action_dep.c.needs == action.c.id)
            .where(action_dep.c.action.in_(chunk))
        )
        for key, digest in connection.execute(query):
            results[ActionKey(key)] = Digest(digest)
    return results
