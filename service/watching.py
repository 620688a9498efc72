"""Follows audits for streams and waiting calls: what is stored first, then what comes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import final

from auditor.edge.clock import Clock
from auditor.errors import UnavailableError
from service.convert_audit import to_event, to_step_event
from service.notices import Notices, Step
from service.operations import AuditOperations
from service.pb.v1 import audit_pb2
from service.records.jobs import AuditRow
from service.scheduler.overview import Overview
from service.scheduler.states import LIVE_AUDITS
from service.scheduler.time_left import TimeLeft, settled
from service.threads import Threads


@final
class Watching:
    """Streams of events, and waiting for the end.

    Args:
        operations: Stored audits and events.
        notices: Says when to look again.
        overview: Tells how long audits will still take.
        threads: Where looking waits.
        clock: Dates what is in memory only.
        look_seconds: How often to look without news, where other front ends write them too.
    """

    def __init__(
        self,
        operations: AuditOperations,
        *,
        notices: Notices,
        overview: Overview,
        threads: Threads,
        clock: Clock,
        look_seconds: float | None = None,
    ) -> None:
        self._operations = operations
        self._notices = notices
        self._overview = overview
        self._threads = threads
        self._clock = clock
        self._look_seconds = look_seconds
        self._closed = False
        self._waiting: set[asyncio.Event] = set()

    def close(self) -> None:
        """End all streams, on the event loop: callers come back to the next service."""
        self._closed = True
        for news in self._waiting:
            news.set()

    async def events(
        self, tenant: str, audit: str, *, after: int
    ) -> AsyncIterator[audit_pb2.WatchAuditResponse]:
        """Yield events of an audit until it is over.

        Args:
            tenant: Its owner.
            audit: Its id.
            after: Only events of a greater sequence.

        Yields:
            Stored events, each once, and between them steps of what is on the device.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
            UnavailableError: If the service is stopping.
        """
        last = after
        shown: Step | None = None
        countdown = _Countdown(self._overview, clock=self._clock)
        with self._news_of(audit) as news:
            row = await self._threads.run(self._operations.get, tenant, audit, kind="audit")
            while True:
                news.clear()
                events = await self._threads.run(self._operations.events, audit, last)
                if events:
                    row = await self._threads.run(self._operations.get, tenant, audit)
                for event in events:
                    newest = event is events[-1]
                    yield to_event(event, left=countdown.next(row) if newest else None)
                    last = event.sequence
                if row.state not in LIVE_AUDITS and (
                    not events or events[-1].state not in LIVE_AUDITS
                ):
                    return
                step = self._notices.step(audit)
                if step is not None and step != shown:
                    shown = step
                    now = self._clock.now().timestamp()
                    left = countdown.next(row)
                    yield to_step_event(row, step, sequence=last, now=now, left=left)
                await self._next(news)

    async def end(self, tenant: str, audit: str, *, seconds: float) -> AuditRow:
        """Return an audit when it is over or the time is.

        Raises:
            ArtifactMissingError: If the tenant has no such audit.
            UnavailableError: If the service is stopping.
        """
        with self._news_of(audit) as news:
            row = await self._threads.run(self._operations.get, tenant, audit)
            try:
                async with asyncio.timeout(seconds):
                    while row.state in LIVE_AUDITS:
                        await self._next(news)
                        news.clear()
                        row = await self._threads.run(self._operations.get, tenant, audit)
            except TimeoutError:
                return row
            return row

    @contextmanager
    def _news_of(self, audit: str) -> Iterator[asyncio.Event]:
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            with self._notices.listen(audit, _waker(asyncio.get_running_loop(), news)):
                yield news
        finally:
            self._waiting.discard(news)

    async def _next(self, news: asyncio.Event) -> None:
        if not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await news.wait()
        if self._closed:
            raise UnavailableError(
                "service",
                expected="a service that goes on",
                found="one that is stopping",
                remedy="Watch again with after_sequence of the last event.",
            )


@final
class _Countdown:
    """The time left as one stream shows it."""

    def __init__(self, overview: Overview, *, clock: Clock) -> None:
        self._overview = overview
        self._clock = clock
        self._shown: tuple[float, float] | None = None  # seconds left, and when that was said

    def next(self, row: AuditRow) -> TimeLeft | None:
        """Return the time left now, steadied by what was shown before."""
        left = self._overview.time_left(row)
        if left is None:
            return None
        now = self._clock.monotonic()
        seconds = left.seconds
        if self._shown is not None:
            before, at = self._shown
            seconds = settled(seconds, before=before, elapsed=now - at)
        self._shown = (seconds, now)
        return TimeLeft(seconds=seconds, at_least=left.at_least)


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(news.set)

    return wake
