"""Audits, records and a device that computes nothing, for the benchmark of the scheduler."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest, sha256
from service.executors.base import ActionDone, GroupDone, GroupStarted, WorkerEvent, WorkerReady
from service.planning import PlannedRound
from service.records.engine import Database, open_engine
from service.records.jobs import (
    ActionRow,
    AuditRow,
    CheckedLog,
    LeasedGroup,
    NewAction,
    NewAudit,
    SignedReport,
)
from service.records.migrate import migrate

TENANTS = 10
TRAJECTORIES, STAGES = 6, 3
ACTIONS = TRAJECTORIES * STAGES + 2  # an audit's: its stages, one evaluation, one report
WORKER = "cpu#0.1"


def make_audit(number: int) -> NewAudit:
    """Return an audit whose stages have the group keys of those of every other audit."""
    actions: list[NewAction] = []
    ends: list[ActionKey] = []
    for trajectory in range(TRAJECTORIES):
        needs: tuple[ActionKey, ...] = ()
        for stage in range(STAGES):
            key = _key(f"{number} {trajectory} {stage}")
            actions.append(_action(key, f"advance {stage}", needs))
            needs = (key,)
        ends += needs
    values = _key(f"{number} evaluate")
    actions.append(_action(values, "evaluate", tuple(ends)))
    actions.append(_action(_key(f"{number} report"), "report", (values,)))
    return NewAudit(
        id=f"{number:026d}",
        tenant=f"tenant{number % TENANTS}",
        request_digest=sha256(str(number).encode()),
        log_digest=sha256(b"log"),
        model_digest=None,
        priority=1,
        deadline=4e9 + number,
        operator=None,
        request=None,
        max_live_audits=10**6,
        actions=tuple(actions),
    )


def _key(name: str) -> ActionKey:
    return ActionKey(sha256(name.encode()))


def _action(key: ActionKey, group: str, needs: tuple[ActionKey, ...]) -> NewAction:
    return NewAction(
        key=key,
        kind=group.split(maxsplit=1)[0],
        group_key=sha256(group.encode()),
        spec="{}",
        needs=needs,
    )


def open_records(folder: Path) -> Database:
    """Return an empty database with the service's schema and durability."""
    engine = open_engine(folder / "records.sqlite")
    migrate(engine)
    return Database(
        engine, observe_seconds=lambda _name, _seconds: None, monotonic=time.perf_counter
    )


@final
class StoredPlans:
    """Plans what the audits were stored with, and judges and signs without looking."""

    def __init__(self, audits: Iterable[NewAudit]) -> None:
        self._plans = {audit.request_digest: audit.actions for audit in audits}

    def plan_stored(self, request: Digest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        """Return the actions of a stored audit."""
        actions = self._plans[request]
        return PlannedRound(actions=actions, report=actions[-1].key)

    def missing(self, results: Iterable[Digest]) -> frozenset[Digest]:
        """Say that every result is there."""
        return frozenset()

    def sign(
        self, audit: AuditRow, figures: Digest, *, actions: Sequence[ActionRow]
    ) -> SignedReport:
        """Return a report that nobody signed."""
        name = sha256(audit.id.encode())
        return SignedReport(digest=name, bundle=name, bundle_size_bytes=1, keyid="0" * 64)

    def actions(self, check: AuditRow) -> tuple[NewAction, ...]:
        """Plan no check."""
        return ()

    def judge(self, check: AuditRow, actions: Sequence[ActionRow]) -> CheckedLog:
        """Find every log consistent."""
        return CheckedLog(complete=True, consistent=True, causes=(), verdict="{}")


@final
class IdleDevice:
    """An executor whose groups take a second an action of a time that only it counts."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, LeasedGroup]] = deque()
        self.report: Callable[[WorkerEvent], None] = lambda _event: None
        self.action_seconds = 0
        self.groups = 0

    @property
    def holds_a_group(self) -> bool:
        """Whether there is something to compute."""
        return bool(self._queue)

    def compute(self) -> GroupDone:
        """Compute the next group in no time and return its answer."""
        group_id, group = self._queue.popleft()
        self.report(GroupStarted(worker=WORKER, group=group_id))
        self.action_seconds += len(group.actions)
        self.groups += 1
        results = tuple(
            ActionDone(
                key=action.key,
                fence=action.lease.fence,
                digest=Digest(action.key),
                size=1,
                gradient_examples=1,
            )
            for action in group.actions
        )
        return GroupDone(
            worker=WORKER,
            group=group_id,
            results=results,
            compute_seconds=float(len(group.actions)),
        )

    def start(self, report: Callable[[WorkerEvent], None]) -> None:
        """Take groups from now on."""
        self.report = report
        report(WorkerReady(worker=WORKER, device="cpu"))

    def submit(self, worker: str, group_id: int, group: LeasedGroup) -> None:
        """Queue a group."""
        self._queue.append((group_id, group))

    def cancel(self, worker: str, group_id: int, keys: Sequence[ActionKey]) -> None:
        """Drop a group that was taken back; nothing here cancels single actions."""
        self._queue = deque(entry for entry in self._queue if entry[0] != group_id)

    def drain(self) -> None:
        """Hold nothing back: there is nothing to drain."""

    def end(self, worker: str) -> None:
        """Hold nothing that could be ended."""
