"""The scheduler over real records, with everything around it under a test's hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from auditor.errors import AuditorError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest, sha256
from service.executors.base import ActionDone, GroupDone, GroupFailed, WorkerEvent, WorkerReady
from service.failures import Failure
from service.metrics import Metrics
from service.notices import Notices
from service.planning import PlannedRound
from service.records.checked_log import CheckedLog
from service.records.checks import SqlLogChecks
from service.records.front_end import ALONE, FrontEnd
from service.records.jobs import (
    ActionRow,
    AuditRow,
    LeasedAction,
    LeasedGroup,
    NewAction,
    QueueRow,
    SignedReport,
)
from service.records.upkeep import SqlUpkeep
from service.rounds import CheckEnding, RoundPlanner, Rounds
from service.saved_states import SavedStates
from service.scheduler.arrivals import Arrivals
from service.scheduler.fair_share import FairShare
from service.scheduler.formation import Formation, SchedulerSettings
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.loop import Scheduler, Wake
from service.scheduler.overview import Overview
from service.scheduler.reactions import Reactions
from service.scheduler.setbacks import Setbacks
from service.telemetry import Telemetry
from tests.support.fake_clock import FakeClock
from tests.support.job_records import TENANT, Records, make_audit
from tests.support.memory_blobs import MemoryBlobs

WORKER = "cpu#0.1"
LEASE_SECONDS = 30
MAX_ATTEMPTS = 3


@final
class FakeExecutor:
    """Remembers what it was told; the test says what the workers answer."""

    def __init__(self) -> None:
        self.submitted: list[tuple[str, int, LeasedGroup]] = []
        self.cancelled: list[tuple[str, int, tuple[ActionKey, ...]]] = []
        self.ended: list[str] = []
        self.draining = False

    def start(self, report: Callable[[WorkerEvent], None]) -> None:
        report(WorkerReady(worker=WORKER, device="cpu"))

    def submit(self, worker: str, group_id: int, group: LeasedGroup) -> None:
        self.submitted.append((worker, group_id, group))

    def cancel(self, worker: str, group_id: int, keys: Sequence[ActionKey]) -> None:
        self.cancelled.append((worker, group_id, tuple(keys)))

    def drain(self) -> None:
        self.draining = True

    def end(self, worker: str) -> None:
        self.ended.append(worker)


@final
class FakePlanner:
    """Plans the rounds that a test laid out, by the number of results that are there.

    Audits that differ are known by their keys: ``know`` them.
    """

    def __init__(self, blobs: MemoryBlobs) -> None:
        self.rounds: dict[int, tuple[NewAction, ...]] = {}
        self._known: dict[ActionKey, tuple[NewAction, ...]] = {}
        self._blobs = blobs

    def know(self, *actions: NewAction) -> None:
        """Plan these whenever an audit has one of them."""
        self._known |= dict.fromkeys((action.key for action in actions), actions)

    def plan_stored(self, request: Digest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        for actions in (self._known[key] for key in results if key in self._known):
            return PlannedRound(actions=actions, report=actions[-1].key)
        known = max(count for count in self.rounds if count <= len(results))
        actions = self.rounds[known]
        return PlannedRound(actions=actions, report=actions[-1].key)

    def missing(self, results: Iterable[Digest]) -> frozenset[Digest]:
        return frozenset(digest for digest in results if not self._blobs.has(digest))


@final
class FakeFinisher:
    """Signs nothing; ``errors`` are raised one after the other instead.

    ``meanwhile`` is called for each signature, before it is there.
    """

    def __init__(self) -> None:
        self.signed: list[str] = []
        self.errors: list[AuditorError] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def sign(
        self, audit: AuditRow, figures: Digest, *, actions: Sequence[ActionRow]
    ) -> SignedReport:
        self.meanwhile()
        if self.errors:
            raise self.errors.pop(0)
        self.signed.append(audit.id)
        name = f"{audit.id} {len(self.signed)}".encode()
        return SignedReport(
            digest=sha256(name), bundle=sha256(b"b" + name), bundle_size_bytes=1, keyid="0" * 64
        )


@final
class FakeJudge:
    """Finds what a test lays out; plans nothing again."""

    def __init__(self) -> None:
        self.found = CheckedLog(complete=True, consistent=True, causes=(), verdict="{}")

    def actions(self, check: AuditRow) -> tuple[NewAction, ...]:
        return ()

    def judge(self, check: AuditRow, actions: Sequence[ActionRow]) -> CheckedLog:
        return self.found


@final
class SlowCount:
    """Upkeep that takes ``seconds`` of the clock whenever it counts the queue."""

    def __init__(self, upkeep: SqlUpkeep, clock: FakeClock) -> None:
        self.seconds = 0.0
        self.counts = 0
        self._upkeep = upkeep
        self._clock = clock

    def queue(self) -> tuple[QueueRow, ...]:
        self.counts += 1
        self._clock.advance(self.seconds)
        return self._upkeep.queue()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._upkeep, name)


@final
class Rig:
    """One worker, a scheduler that turns when a test says so, and a clock that stands still."""

    def __init__(
        self,
        where: Path | str,
        *,
        front_end: FrontEnd = ALONE,
        clock: FakeClock | None = None,
        planner: RoundPlanner | None = None,
        max_batch_delay_seconds: float = 0.0,
    ) -> None:
        self._answered: set[int] = set()
        self.clock = clock or FakeClock()
        self.records = Records(where, self.clock, front_end=front_end)
        self.blobs = MemoryBlobs()
        self.upkeep = SlowCount(self.records.upkeep, self.clock)
        # Rigs that share a server have no folder, and nothing that is saved.
        self.saved = SavedStates(where.parent if isinstance(where, Path) else Path("/nowhere"))
        self.executor = FakeExecutor()
        self.planner = FakePlanner(self.blobs)
        self.finisher = FakeFinisher()
        self.judge = FakeJudge()
        self.notices = Notices()
        self.metrics = Metrics()
        self.arrivals = Arrivals()
        self.shares = FairShare()
        self.seconds = GroupSeconds()
        self.overview = Overview(self.clock, max_lanes=8, expected=self.seconds, devices=("cpu",))
        telemetry = Telemetry(self.metrics, max_lanes=8, overview=self.overview)
        self.rounds = Rounds(
            audits=self.records.audits,
            reader=self.records.reader,
            planner=planner or self.planner,
            finisher=self.finisher,
            checks=CheckEnding(
                judge=self.judge,
                records=SqlLogChecks(self.records.database, now=self.clock.seconds),
            ),
            notices=self.notices,
            telemetry=telemetry,
        )
        reactions = Reactions(
            leases=self.records.leases,
            executor=self.executor,
            rounds=self.rounds,
            setbacks=Setbacks(
                self.records.leases,
                self.blobs,
                telemetry=telemetry,
                max_attempts=MAX_ATTEMPTS,
                jitter=lambda: 1.0,
            ),
            notices=self.notices,
            telemetry=telemetry,
            shares=self.shares,
            formation=Formation(
                SchedulerSettings(
                    max_lanes=8,
                    lease_seconds=LEASE_SECONDS,
                    max_batch_delay_seconds=max_batch_delay_seconds,
                    seconds=self.seconds,
                ),
                arrivals=self.arrivals,
            ),
        )
        self.scheduler = Scheduler(
            reactions,
            self.upkeep,
            executor=self.executor,
            telemetry=telemetry,
            clock=self.clock,
            saved=self.saved,
        )
        self.arrivals.on_last(lambda: self.scheduler.report(Wake()))
        self.executor.start(self.scheduler.report)
        self.turn()

    def turn(self, *events: WorkerEvent) -> None:
        """Let the scheduler handle these events and whatever is due."""
        for event in events:
            self.scheduler.report(event)
        self.scheduler.turn(timeout_seconds=0)

    def audit(self, *actions: NewAction, **options: object) -> str:
        """Store an audit of one round and let the scheduler see it."""
        self.planner.rounds = {0: actions}
        new = make_audit(*actions, **options)  # type: ignore[arg-type]  # its own keywords
        _, plan = self.records.audits.create(new, gone=())
        self.scheduler.report(Wake(settled=(new.id,) if plan.settled else ()))
        self.turn()
        return new.id

    def row(self, audit: str) -> AuditRow:
        return self.records.reader.get(TENANT, audit)

    def running(self) -> tuple[int, LeasedGroup]:
        """Return the group that was handed out last."""
        _, group_id, group = self.executor.submitted[-1]
        return group_id, group

    def answer(self, *, seconds: float = 1.0) -> GroupDone:
        """Return the event with results of every action of that group, stored as blobs."""
        return self.answer_to(*self.running(), seconds=seconds)

    def answer_all(self, *, failing: ActionKey, failure: Failure) -> None:
        """Answer every group that waits for an answer; those with ``failing`` in them fail."""
        waiting = [entry for entry in self.executor.submitted if entry[1] not in self._answered]
        for _, group_id, group in waiting:
            self._answered.add(group_id)
            if failing in {action.key for action in group.actions}:
                self.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure))
            else:
                self.turn(self.answer_to(group_id, group, seconds=1.0))

    def answer_waiting(self) -> None:
        """Answer every group that waits for an answer."""
        for _, group_id, group in self.executor.submitted:
            if group_id not in self._answered:
                self._answered.add(group_id)
                self.turn(self.answer_to(group_id, group))

    def answer_to(self, group_id: int, group: LeasedGroup, *, seconds: float = 1.0) -> GroupDone:
        """Return the event with results of every action of a group, stored as blobs."""
        results = tuple(self.result_of(action) for action in group.actions)
        return GroupDone(worker=WORKER, group=group_id, results=results, compute_seconds=seconds)

    def result_of(self, action: LeasedAction) -> ActionDone:
        """Return what a worker answers for one action, its result stored as a blob."""
        return ActionDone(
            key=action.key,
            fence=action.lease.fence,
            digest=self.blobs.write(f"result of {action.key}".encode()),
            size=1,
            gradient_examples=1,
        )

    def states(self, audit: str) -> dict[str, str]:
        return {row.key: row.state.value for row in self.records.reader.actions(audit)}

    def close(self) -> None:
        self.records.database.close()
