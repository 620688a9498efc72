"""Audits and actions for tests of the records and of the scheduler."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import final

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest, sha256
from service.records.audits import SqlAudits
from service.records.base import RequestKey
from service.records.catalogue import SqlCatalogue
from service.records.engine import Database, open_engine
from service.records.front_end import ALONE, FrontEnd
from service.records.jobs import (
    Claim,
    Completion,
    JobKind,
    LeasedAction,
    LeasedGroup,
    NewAction,
    NewAudit,
)
from service.records.leases import SqlLeases
from service.records.migrate import migrate
from service.records.reading import SqlAuditReader
from service.records.upkeep import SqlUpkeep
from service.scheduler.batch_delay import Launch, When
from tests.support.fake_clock import FakeClock

TENANT = "default"
MAX_DELAY_SECONDS = 0.05
_counter = itertools.count()


@final
class Records:
    """Every kind of record over one database and a clock, as one front end has them."""

    def __init__(self, where: Path | str, clock: FakeClock, *, front_end: FrontEnd = ALONE) -> None:
        engine = open_engine(where)
        migrate(engine)
        self.clock = clock
        self.writes: list[str] = []  #: names of the write transactions so far
        self.database = Database(
            engine,
            observe_seconds=lambda name, _seconds: self.writes.append(name),
            monotonic=clock.monotonic,
        )
        self.audits = SqlAudits(self.database, now=clock.seconds, front_end=front_end)
        self.reader = SqlAuditReader(self.database)
        self.leases = SqlLeases(self.database, now=clock.seconds, front_end=front_end)
        self.upkeep = SqlUpkeep(self.database, now=clock.seconds, front_end=front_end)
        self.catalogue = SqlCatalogue(self.database, now=clock.seconds)

    def claim(self, *, max_lanes: int = 64, when: When = When.NOW) -> LeasedGroup | None:
        return self.claim_for("worker-1", max_lanes=max_lanes, when=when).group

    def claim_for(
        self,
        owner: str,
        *,
        max_lanes: int = 64,
        when: When = When.NOW,
        start_of: Callable[[str], float] = lambda _: 0.0,
    ) -> Claim:
        return self.leases.claim(
            owner,
            lanes_of=lambda _head: max_lanes,
            lease_seconds=30,
            launch=Launch(when=when, max_delay_seconds=MAX_DELAY_SECONDS),
            start_of=start_of,
        )


def key(name: str) -> ActionKey:
    return ActionKey(sha256(name.encode()))


def result(name: str) -> Digest:
    return sha256(f"result of {name}".encode())


def make_action(
    name: str, *needs: str, group: str | None = None, kind: str = "advance"
) -> NewAction:
    return NewAction(
        key=key(name),
        kind=kind,
        group_key=sha256((group or name).encode()),
        spec="{}",
        needs=tuple(key(need) for need in needs),
    )


def make_audit(
    *actions: NewAction,
    audit: str | None = None,
    tenant: str = TENANT,
    priority: int = 1,
    deadline: float = 4e9,
    request: RequestKey | None = None,
    max_live_audits: int = 64,
    kind: JobKind = "audit",
) -> NewAudit:
    return NewAudit(
        id=audit or f"{next(_counter):026d}",
        tenant=tenant,
        request_digest=sha256(b"request"),
        log_digest=sha256(b"log"),
        model_digest=None,
        priority=priority,
        deadline=deadline,
        operator=None,
        request=request,
        max_live_audits=max_live_audits,
        actions=actions,
        kind=kind,
    )


def completion(
    action: LeasedAction, name: str = "x", *, compute_seconds: float = 1.0
) -> Completion:
    return Completion(
        lease=action.lease,
        digest=result(name),
        size=3,
        gradient_examples=10,
        compute_seconds=compute_seconds,
        lanes=1,
    )
