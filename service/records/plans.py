"""Stores a round of actions: new ones, ones under way, ones whose results are there already.

A result that is there is used again whichever audit of the tenant asked for it first. An action
that failed or was cancelled, or whose result is gone, is computed again; what depends on it then
counts what it waits for anew. ``unmet`` is always the number of actions a BLOCKED one waits for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, bindparam, case, func, insert, select, update

from auditor.errors import InternalError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.records.jobs import NewAction, StoredPlan
from service.records.tables import action, action_dep, audit_action
from service.records.tables import audit as audits
from service.scheduler.states import LIVE_AUDITS, PENDING_ACTIONS, ActionState

Item = TypeVar("Item")

_CHUNK = 400  # SQLite limits the variables of a statement


def store_plan(
    connection: Connection,
    actions: Sequence[NewAction],
    *,
    tenant: str,
    audit: str,
    round_number: int,
    gone: Collection[Digest],
    now: float,
) -> StoredPlan:
    """Make the audit want these actions and return how they met what was there."""
    read = dict.fromkeys(key for a in actions for key in (a.key, *a.needs))
    stored = find_actions(connection, tenant, list(read))
    new = [a for a in actions if a.key not in stored]
    cached, joined, revived = [], [], []
    for key in (a.key for a in actions if a.key in stored):
        row = stored[key]
        if row.state in PENDING_ACTIONS:
            joined.append(key)
        elif row.state == ActionState.DONE and row.result not in gone:
            cached.append(key)
        else:
            revived.append(key)

    met = {key for key, row in stored.items() if row.state == ActionState.DONE} - set(revived)
    _insert_actions(connection, new, met=met, tenant=tenant, audit=audit, now=now)
    ids = {key: row.id for key, row in stored.items()}
    ids |= _ids(connection, tenant, [a.key for a in new])
    _insert_edges(connection, new, ids)
    revive(connection, [ids[key] for key in revived], now=now)
    for chunk in chunks([ids[key] for key in cached]):
        connection.execute(update(action).where(action.c.id.in_(chunk)).values(used=now))

    wanted = set(_wanted(connection, audit))
    links = [
        {
            "audit": audit,
            "action": ids[a.key],
            "round": round_number,
            "cached": int(a.key in cached),
        }
        for a in actions
        if ids[a.key] not in wanted
    ]
    if links:
        connection.execute(insert(audit_action), links)
    note_urgency(connection, [ids[key] for key in (*joined, *revived)])
    return StoredPlan(
        new=tuple(a.key for a in new) + tuple(revived),
        joined=tuple(joined),
        cached=tuple(cached),
        settled=not new and not joined and not revived,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredAction:
    """What is there under an action's key."""

    id: int
    state: ActionState
    result: Digest | None


def find_actions(
    connection: Connection, tenant: str, keys: Sequence[ActionKey]
) -> Mapping[ActionKey, StoredAction]:
    """Return the actions that are stored."""
    found: dict[ActionKey, StoredAction] = {}
    for chunk in chunks(keys):
        query = select(action.c.id, action.c.key, action.c.state, action.c.result_digest).where(
            action.c.tenant == tenant, action.c.key.in_(chunk)
        )
        for row in connection.execute(query):
            found[ActionKey(row.key)] = StoredAction(
                id=row.id,
                state=ActionState(row.state),
                result=None if row.result_digest is None else Digest(row.result_digest),
            )
    return found


def revive(connection: Connection, ids: Sequence[int], *, now: float) -> None:
    """Compute these finished actions again, with all their attempts, and let dependants wait."""
    if not ids:
        return
    for chunk in chunks(ids):
        connection.execute(
            update(action)
            .where(action.c.id.in_(chunk))
            .values(
                state=ActionState.BLOCKED,
                unmet=0,
                attempt=0,
                returned=0,
                deaths=0,
                max_lanes=None,
                not_before=now,
                lease_owner=None,
                lease_until=None,
                result_digest=None,
                result_size=None,
                gradient_examples=None,
                compute_seconds=None,
                group_lanes=None,
                execution_digest=None,
                error=None,
            )
        )
    count_unmet(connection, ids)
    dependants: list[int] = []
    for chunk in chunks(ids):
        query = select(action_dep.c.action).where(action_dep.c.needs.in_(chunk)).distinct()
        dependants += connection.scalars(query)
    count_unmet(connection, dependants)


def count_unmet(connection: Connection, ids: Sequence[int]) -> None:
    """Count what waiting actions wait for and set BLOCKED or READY accordingly."""
    needed = action.alias("needed")
    unmet = (
        select(func.count())
        .select_from(action_dep.join(needed, action_dep.c.needs == needed.c.id))
        .where(action_dep.c.action == action.c.id, needed.c.state != ActionState.DONE)
        .scalar_subquery()
    )
    waiting = (ActionState.BLOCKED, ActionState.READY)
    for chunk in chunks(ids):
        chosen = action.c.id.in_(chunk), action.c.state.in_(waiting)
        connection.execute(update(action).where(*chosen).values(unmet=unmet))
        connection.execute(
            update(action)
            .where(*chosen)
            .values(state=case((action.c.unmet == 0, ActionState.READY), else_=ActionState.BLOCKED))
        )


def note_urgency(connection: Connection, ids: Sequence[int]) -> None:
    """Give pending actions the highest priority and the first deadline of who wants them now."""
    wanting = (
        audit_action.c.action == action.c.id,
        audits.c.id == audit_action.c.audit,
        audits.c.state.in_(LIVE_AUDITS),
    )
    priority = select(func.max(audits.c.priority)).where(*wanting).scalar_subquery()
    deadline = select(func.min(audits.c.deadline)).where(*wanting).scalar_subquery()
    for chunk in chunks(ids):
        connection.execute(
            update(action)
            .where(action.c.id.in_(chunk), action.c.state.in_(PENDING_ACTIONS))
            .values(
                priority=func.coalesce(priority, action.c.priority),
                deadline=func.coalesce(deadline, action.c.deadline),
            )
        )


def _insert_actions(
    connection: Connection,
    actions: Sequence[NewAction],
    *,
    met: Collection[ActionKey],
    tenant: str,
    audit: str,
    now: float,
) -> None:
    if not actions:
        return
    height = _heights(actions)
    unmet = {a.key: len(set(a.needs).difference(met)) for a in actions}
    priority, deadline = connection.execute(
        select(audits.c.priority, audits.c.deadline).where(audits.c.id == audit)
    ).one()
    connection.execute(
        insert(action),
        [
            {
                "tenant": tenant,
                "key": a.key,
                "kind": a.kind,
                "group_key": a.group_key,
                "spec": a.spec,
                "state": ActionState.BLOCKED if unmet[a.key] else ActionState.READY,
                "unmet": unmet[a.key],
                "height": height[a.key],
                "fixed_bytes": a.fixed_bytes,
                "lane_bytes": a.lane_bytes,
                "priority": priority,
                "deadline": deadline,
                "attempt": 0,
                "returned": 0,
                "deaths": 0,
                "not_before": now,
                "fence": 0,
                "created": now,
                "used": now,
            }
            for a in actions
        ],
    )


def _heights(actions: Sequence[NewAction]) -> dict[ActionKey, int]:
    """Return how many actions lie on the longest way from each to one that nothing reads."""
    height = {a.key: 0 for a in actions}
    for a in reversed(actions):  # planned dependencies first, so readers come before
        for key in a.needs:
            if key in height:
                height[key] = max(height[key], height[a.key] + 1)
    return height


def _insert_edges(
    connection: Connection, actions: Sequence[NewAction], ids: Mapping[ActionKey, int]
) -> None:
    missing = [key for a in actions for key in a.needs if key not in ids]
    if missing:
        raise InternalError(
            f"action {missing[0]}",
            expected="to be planned no later than what reads its result",
            found="an action that nobody planned",
            remedy="Report this together with the audit request.",
        )
    edges = [
        {"action": ids[a.key], "needs": ids[key]} for a in actions for key in dict.fromkeys(a.needs)
    ]
    if edges:
        connection.execute(insert(action_dep), edges)


def _ids(connection: Connection, tenant: str, keys: Collection[ActionKey]) -> dict[ActionKey, int]:
    found = find_actions(connection, tenant, list(dict.fromkeys(keys)))
    return {key: row.id for key, row in found.items()}


def _wanted(connection: Connection, audit: str) -> Iterator[int]:
    query = select(audit_action.c.action).where(audit_action.c.audit == bindparam("audit"))
    yield from connection.scalars(query, {"audit": audit})


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Yield the items in runs that fit one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
