"""The queue as rows: what is leased, and which audits want it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import BindParameter, Connection, bindparam, select, update

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.records.jobs import Lease, LeasedAction, LeasedGroup
from service.records.plans import chunks
from service.records.tables import action, action_dep, audit, audit_action
from service.scheduler.ready import ReadyAction, log_named
from service.scheduler.states import LIVE_AUDITS, ActionState

# The statements are built once: building one costs more than a database takes to answer it.
_IDS: BindParameter[int] = bindparam("ids", expanding=True)
_LEASE = (
    update(action)
    .where(action.c.id.in_(_IDS), action.c.state == ActionState.READY)
    .values(
        state=ActionState.LEASED,
        fence=action.c.fence + 1,
        attempt=action.c.attempt + 1,
        lease_owner=bindparam("owner"),
        lease_until=bindparam("until"),
        used=bindparam("now"),
    )
    .returning(action.c.id)
)
_ACTIONS = select(action).where(action.c.id.in_(_IDS))
# The state as a subquery and not by a join, which SQLite would begin with every live audit.
_WANTING = (
    select(audit_action.c.audit, audit_action.c.action)
    .where(
        audit_action.c.action.in_(_IDS),
        select(audit.c.state)
        .where(audit.c.id == audit_action.c.audit)
        .scalar_subquery()
        .in_(LIVE_AUDITS),
    )
    .order_by(audit_action.c.audit, audit_action.c.action)
)
_RESULTS = (
    select(action.c.key, action.c.result_digest)
    .join(action_dep, action_dep.c.needs == action.c.id)
    .where(action_dep.c.action.in_(_IDS))
)


def lease_group(
    connection: Connection,
    chosen: Sequence[ReadyAction],
    *,
    owner: str,
    now: float,
    until: float,
) -> LeasedGroup | None:
    """Lease the chosen actions together, each with a new fence and one attempt more.

    Returns:
        The group of those that were still ready, which are all where one scheduler claims; None
        if another one took everything.
    """
    wanted = [ready.id for ready in chosen]
    given = {"ids": wanted, "owner": owner, "until": until, "now": now}
    taken = set(connection.scalars(_LEASE, given))
    ids = [action_id for action_id in wanted if action_id in taken]
    if not ids:
        return None
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
    found = []
    for chunk in chunks(ids):
        for row in connection.execute(_ACTIONS, {"ids": chunk}):
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
                    priority=row.priority,
                    waited_seconds=max(0.0, now - row.not_before),
                    audits=tuple(audits[row.id]),
                    log=log_named(row.spec),
                    saved=None if row.saved_digest is None else Digest(row.saved_digest),
                )
            )
    return tuple(found)


def audits_wanting(connection: Connection, ids: Sequence[int]) -> Mapping[str, Sequence[int]]:
    """Return the live audits that want any of these actions, each with the ones it wants."""
    wanting: dict[str, list[int]] = {}
    for chunk in chunks(ids):
        for audit_id, action_id in connection.execute(_WANTING, {"ids": chunk}):
            wanting.setdefault(audit_id, []).append(action_id)
    return wanting


def _results_read_by(connection: Connection, ids: Sequence[int]) -> dict[ActionKey, Digest]:
    results: dict[ActionKey, Digest] = {}
    for chunk in chunks(ids):
        for key, digest in connection.execute(_RESULTS, {"ids": chunk}):
            results[ActionKey(key)] = Digest(digest)
    return results
