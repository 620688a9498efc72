"""Thousands of waiting audits at once, written past the planner in one transaction."""

from sqlalchemy import Connection, insert

from auditor.stagelog.digest import sha256
from service.records.jobs import NewAction
from service.records.requests import ensure_tenant
from service.records.tables import action, audit, audit_action, operation
from service.scheduler.states import ActionState, AuditState
from tests.support.job_records import Records, make_action

FIRST_ACTION = 1_000_000


def store_many(records: Records, count: int, *, tenant: str, group: str) -> tuple[NewAction, ...]:
    """Store audits of one ready action each, all of one group key, and return the actions."""
    actions = tuple(make_action(f"bulk {number}", group=group) for number in range(count))
    now = records.clock.seconds()
    ids = [f"bulk{number:022d}" for number in range(count)]

    def work(connection: Connection) -> None:
        ensure_tenant(connection, tenant, now=now)
        connection.execute(
            insert(audit),
            [
                {
                    "id": audit_id, "tenant": tenant, "request_digest": sha256(b"request"),
                    "log_digest": sha256(b"log"), "priority": 1, "state": AuditState.PLANNED,
                    "round": 1, "deadline": 4e9, "created": now, "updated": now,
                }
                for audit_id in ids
            ],
        )  # fmt: skip
        connection.execute(
            insert(operation),
            [{"id": a, "tenant": tenant, "kind": "audit", "created": now} for a in ids],
        )
        connection.execute(
            insert(action),
            [
                {
                    "id": FIRST_ACTION + number, "tenant": tenant, "key": a.key, "kind": a.kind,
                    "group_key": a.group_key, "spec": a.spec,
                    "state": ActionState.READY, "unmet": 0, "height": 0, "priority": 1,
                    "deadline": 4e9, "attempt": 0, "returned": 0, "deaths": 0,
                    "not_before": now, "fence": 0, "created": now, "used": now,
                }
                for number, a in enumerate(actions)
            ],
        )  # fmt: skip
        connection.execute(
            insert(audit_action),
            [
                {"audit": a, "action": FIRST_ACTION + number, "round": 1, "cached": 0}
                for number, a in enumerate(ids)
            ],
        )

    records.database.write("store_many", work)
    return actions
