"""The scheduler: one thread that reacts to workers, callers and time, and hands out groups.

It holds nothing that matters: what is ready, leased or done is in the records, and after a crash
the loop begins with what it finds there.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import structlog

from auditor.edge.clock import Clock
from auditor.errors import AuditorError, UnavailableError
from auditor.plan.actions import ActionKey
from service.executors.base import (
    Executor,
    GroupResumed,
    GroupSaved,
    GroupStarted,
    GroupStepped,
    WorkerBeat,
    WorkerEvent,
)
from service.records.jobs import Lease
from service.records.passing_time import SchedulerRecords
from service.saved_states import SavedStates
from service.scheduler.reactions import Reactions
from service.telemetry import Telemetry

UPKEEP_SECONDS = 1.0
SWEEP_SECONDS = 60.0
TRUST_SECONDS = 5.0
"""How long after the database was away other front ends may take to renew their leases."""

COUNT_REST = 20.0
"""Counting the queue rests so many times as long as it took: a long queue is counted less often."""

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """Leases became void by a decision outside the loop."""

    leases: tuple[Lease, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wake:
    """There may be something to do; ``settled`` audits can be carried on."""

    settled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """A new audit waits for actions that others asked for before."""

    audit: str
    keys: frozenset[ActionKey]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """End the loop once everything reported before is handled."""


_NEWS_ONLY = (GroupStarted, GroupResumed, GroupStepped, GroupSaved, WorkerBeat)
"""Events after which nothing more can be handed out than before."""

Event = WorkerEvent | Revoked | Wake | Joined | Stop


@final
class Scheduler:
    """Brings events, time and room together.

    Args:
        reactions: What is done about them.
        upkeep: What time changes.
        executor: Told to drain.
        telemetry: What operators are told.
        clock: Wall time for leases and retries.
        saved: Swept of states that nothing goes on from any more.
    """

    def __init__(
        self,
        reactions: Reactions,
        upkeep: SchedulerRecords,
        *,
        executor: Executor,
        telemetry: Telemetry,
        clock: Clock,
        saved: SavedStates,
    ) -> None:
        self._reactions = reactions
        self._upkeep = upkeep
        self._executor = executor
        self._telemetry = telemetry
        self._clock = clock
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stopped = False
        self._next_count = clock.monotonic()
        self._saved = saved
        self._next_upkeep = self._next_sweep = clock.monotonic()
        self._became_idle = threading.Event()
        self._kept: list[Event] = []
        self._put_off: list[Event] = []
        self._trust_again = clock.monotonic()

    def report(self, event: Event) -> None:
        """Take an event, from any thread."""
        self._events.put(event)

    def on_workers(self, callback: Callable[[int], None]) -> None:
        """Call back, from the loop's thread, with the number of workers when it changes."""
        self._reactions.on_workers(callback)

    def recover(self) -> None:
        """Put back what earlier workers held; what settled before the crash is found by upkeep."""
        recovered = self._upkeep.recover()
        if recovered:
            _log.info("leases recovered", actions=recovered)

    def run(self) -> None:
        """React until a Stop comes."""
        while not self._stopped:
            self.turn(timeout_seconds=self.patience())

    def turn(self, *, timeout_seconds: float) -> None:
        """Wait for an event, handle all there are, then see what time and room allow.

        Handling may take long: what comes meanwhile is heard of before leases are ended.
        """
        events = list(self._take(timeout_seconds))
        for event in events:
            self._guarded(partial(self._handle_or_keep, event), what=type(event).__name__)
        if self._clock.monotonic() >= self._next_upkeep:
            self._guarded(self._do_upkeep, what="upkeep")
        if not events or not all(isinstance(event, _NEWS_ONLY) for event in events):
            self._guarded(self._reactions.hand_out, what="hand out")
        if self._reactions.idle:
            self._became_idle.set()
        else:
            self._became_idle.clear()

    def drain(self) -> None:
        """Hand out nothing more and let workers abandon what they hold; from any thread."""
        self._reactions.drain()
        self._executor.drain()
        self.report(Wake())

    def wait_idle(self, *, timeout_seconds: float) -> bool:
        """Wait until no worker holds a group and say whether that came."""
        return self._became_idle.wait(timeout_seconds)

    def _take(self, timeout_seconds: float) -> Iterator[Event]:
        yield from self._put_off
        timeout_seconds = 0.0 if self._put_off else timeout_seconds
        self._put_off = []
        try:
            yield self._events.get(block=timeout_seconds > 0, timeout=timeout_seconds)
            while True:
                yield self._events.get_nowait()
        except queue.Empty:
            return

    def _guarded(self, work: Callable[[], None], *, what: str) -> None:
        """Keep the loop alive: what failed is found again by its lease or at the next upkeep."""
        try:
            work()
        except AuditorError as error:
            _log.warning("scheduler step failed", step=what, error=error.code, message=str(error))
        except Exception:  # noqa: BLE001 - whatever it is, the other audits go on
            _log.exception("scheduler step failed", step=what)

    def _handle_or_keep(self, event: Event) -> None:
        """Handle an event, or keep it until the database is back."""
        try:
            self._handle(event)
        except UnavailableError:
            if event not in self._kept:
                self._kept.append(event)
            raise

    def _handle(self, event: Event) -> None:
        match event:
            case Wake(settled=settled):
                self._reactions.carry_on(settled)
            case Joined(audit=audit, keys=keys):
                self._reactions.join(audit, keys)
            case Revoked(leases=leases):
                self._reactions.revoke(leases)
            case Stop():
                self._stopped = True
            case _:
                self._reactions.handle(event)

    def _do_upkeep(self) -> None:
        now = self._clock.monotonic()
        self._next_upkeep = now + UPKEEP_SECONDS
        self._guarded(self._handle_kept, what="kept events")
        self._hear_beats()
        if self._kept:  # the database is away, and heartbeats that came in time are not in it
            self._trust_again = now + TRUST_SECONDS
        else:
            self._end_leases(now)
        self._reactions.overdue(self._upkeep.overdue())
        self._reactions.carry_on(self._upkeep.settled())
        if self._clock.monotonic() >= self._next_count:
            self._count_queue()
        if self._clock.monotonic() >= self._next_sweep:
            self._next_sweep = self._clock.monotonic() + SWEEP_SECONDS
            self._saved.sweep(self._upkeep.saved())

    def _count_queue(self) -> None:
        started = self._clock.monotonic()
        self._telemetry.queue(self._upkeep.queue())
        now = self._clock.monotonic()
        self._next_count = now + COUNT_REST * (now - started)

    def _end_leases(self, now: float) -> None:
        """Put back what workers and front ends hold that do not answer any more."""
        try:
            expired = self._upkeep.expire()
            abandoned = self._upkeep.abandoned()
        except UnavailableError:
            self._trust_again = now + TRUST_SECONDS
            raise
        if expired:
            self._reactions.expired(expired)
        if abandoned and now >= self._trust_again:
            self._reactions.abandoned(abandoned)

    def _hear_beats(self) -> None:
        """Handle the heartbeats among what came since this turn began, and put off the rest.

        Planning or signing may have taken longer than a lease; a worker that was heard of lives.
        The rest may take as long again, so it is left to the next turn.
        """
        for event in tuple(self._take(0.0)):
            if isinstance(event, WorkerBeat):
                self._guarded(partial(self._handle_or_keep, event), what=type(event).__name__)
            else:
                self._put_off.append(event)

    def _handle_kept(self) -> None:
        """Handle again what came while the database was away."""
        for event in tuple(self._kept):
            self._kept.remove(event)
            self._handle_or_keep(event)

    def patience(self) -> float:
        """Return how long nothing can become due."""
        if self._put_off:
            return 0.0
        wait = max(0.0, self._next_upkeep - self._clock.monotonic())
        moment = self._reactions.due
        try:
            retry = self._upkeep.next_retry()
        except UnavailableError:  # the next upkeep says so
            return wait
        if retry is not None:
            moment = min(moment, retry)
        return max(0.0, min(wait, moment - self._clock.now().timestamp()))
