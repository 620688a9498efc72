"""An executor with one worker, and everything it reported; the same tests run on every kind."""

import queue
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from auditor.plan.actions import ActionSpec, key_of
from auditor.stagelog.digest import sha256
from service.executors.base import WorkerEnded, WorkerEvent, WorkerReady
from service.executors.local import ProcessExecutor, WorkerSettings
from service.records.jobs import Lease, LeasedAction, LeasedGroup
from tests.support.fake_engine import ENGINE

PATIENCE_SECONDS = 60
FENCE = 7

Event = TypeVar("Event", bound=WorkerEvent)
Make = Callable[[WorkerSettings], ProcessExecutor]


class Running:
    """A started executor; a worker that ended is replaced before the next test asks for one."""

    def __init__(
        self, make: Make, *, root: Path, engine: str = ENGINE, memory: int | None = None
    ) -> None:
        self.root = root
        self.executor = make(
            WorkerSettings(
                blobs_root=root,
                devices=("cpu",),
                threads=1,
                heartbeat_seconds=0.2,
                engine=engine,
                device_memory_bytes=memory,
            )
        )
        self._events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self._ready: str | None = None
        self._ids = count(1)
        self.executor.start(self._events.put)

    def next(self) -> WorkerEvent:
        """Return the next event of all."""
        event = self._events.get(timeout=PATIENCE_SECONDS)
        match event:
            case WorkerReady(worker=worker):
                self._ready = worker
            case WorkerEnded():
                self._ready = None
            case _:
                pass
        return event

    def wait_for(self, kind: type[Event]) -> Event:
        """Return the next event of a kind; others are passed over."""
        while True:
            event = self.next()
            if isinstance(event, kind):
                return event

    def worker(self) -> str:
        """Return the worker that takes groups now."""
        while self._ready is None:
            self.next()
        return self._ready

    def process(self) -> int:
        """Return the process id of the worker."""
        (process,) = self.executor.process_ids()
        return process

    def submit(self, *specs: ActionSpec, worker: str | None = None) -> int:
        """Give the worker a group and return the group's number."""
        group = next(self._ids)
        self.executor.submit(worker or self.worker(), group, make_group(*specs))
        return group


def make_group(*specs: ActionSpec) -> LeasedGroup:
    """Return a leased group of these actions."""
    actions = tuple(
        LeasedAction(
            tenant="default",
            lease=Lease(action=number, fence=FENCE),
            key=key_of(spec),
            kind=spec.kind,
            group_key=sha256(b"one group"),
            spec=spec.model_dump_json(),
            attempt=1,
            returned=0,
            deaths=0,
            priority=1,
            waited_seconds=0.0,
            audits=(),
        )
        for number, spec in enumerate(specs)
    )
    return LeasedGroup(actions=actions, results={})
