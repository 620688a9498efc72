"""One worker process per device, started again when it ends; and the executor of one machine."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import structlog

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from auditor.stagelog.record import Record
from service.executors import base
from service.executors.process import Hosts, LocalProcess, WorkerProcess
from service.executors.wire import (
    FROM_WORKER,
    Abandoned,
    Beat,
    CancelActions,
    Configure,
    Done,
    Drain,
    Failed,
    Ready,
    Resumed,
    RunGroup,
    Saved,
    Started,
    Stepped,
    WireAction,
    encode,
)
from service.failures import Failure
from service.records.jobs import LeasedGroup

DEFAULT_ENGINE = "service.executors.engine:open_engine"

_MAX_BACKOFF_SECONDS = 60.0

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """What worker processes are told.

    ``engine`` is ``module:function``, called in the worker with its blob store; ``save_seconds`` is
    how long it computes between two saves of its trajectories.
    """

    blobs_root: Path
    devices: tuple[str, ...]
    threads: int
    heartbeat_seconds: float
    engine: str = DEFAULT_ENGINE
    device_memory_bytes: int | None = None
    save_seconds: float = 60.0


class ProcessExecutor:
    """A :class:`service.executors.base.Executor` of worker processes, wherever they run.

    Args:
        settings: What the workers are told.
        hosts: Where they run.
    """

    def __init__(self, settings: WorkerSettings, *, hosts: Hosts) -> None:
        self._hosts = hosts
        self._slots = tuple(
            _Slot(settings, hosts=hosts, device=device, number=number)
            for number, device in enumerate(settings.devices)
        )

    def start(self, report: Callable[[base.WorkerEvent], None]) -> None:
        """Start the workers; each reports when it is ready.

        Raises:
            UnavailableError: If there is no room for them.
        """
        self._hosts.open()
        for slot in self._slots:
            slot.start(report)

    def submit(self, worker: str, group_id: int, group: LeasedGroup) -> None:
        """Queue a group on a worker; nothing happens if the worker has ended."""
        actions = tuple(
            WireAction(
                key=action.key, fence=action.lease.fence, spec=action.spec, saved=action.saved
            )
            for action in group.actions
        )
        message = RunGroup(
            group=group_id,
            actions=actions,
            results={str(key): str(digest) for key, digest in group.results.items()},
        )
        self._send(worker, message)

    def cancel(self, worker: str, group_id: int, keys: Sequence[ActionKey]) -> None:
        """Tell a worker that nobody wants these actions of the group any more."""
        self._send(worker, CancelActions(group=group_id, keys=tuple(keys)))

    def drain(self) -> None:
        """Let every worker save and abandon its groups at the next block boundary."""
        for slot in self._slots:
            slot.send(slot.worker, Drain())

    def end(self, worker: str) -> None:
        """End a worker that no longer answers; another one takes its place."""
        for slot in self._slots:
            if slot.worker == worker:
                slot.kill()

    def process_ids(self) -> tuple[int, ...]:
        """Return the process ids of the workers that run now, each on its host."""
        return tuple(pid for slot in self._slots if (pid := slot.process_id) is not None)

    def close(self) -> None:
        """End every worker and wait for it."""
        for slot in self._slots:
            slot.stop()
        for slot in self._slots:
            slot.join()
        self._hosts.close()

    def _send(self, worker: str, message: Record) -> None:
        for slot in self._slots:
            slot.send(worker, message)


@final
class LocalExecutor(ProcessExecutor):
    """The executor of one machine.

    Args:
        settings: What the workers are told.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings, hosts=_ThisMachine())


@final
class _ThisMachine:
    """The :class:`Hosts` of local workers."""

    def open(self) -> None:
        """Find the machine there."""

    def launch(self, place: int, configure: Configure) -> WorkerProcess:
        """Start a child process."""
        del place
        process = LocalProcess()
        process.send(encode(configure))
        return process

    def close(self) -> None:
        """Leave the machine as it is."""


@final
class _Slot:
    """One device and the process that has it now; a thread reads what the process says."""

    def __init__(self, settings: WorkerSettings, *, hosts: Hosts, device: str, number: int) -> None:
        self._settings = settings
        self._hosts = hosts
        self._device = device
        self._number = number
        self._births = 0
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def worker(self) -> str:
        """Name of the present process."""
        return f"{self._device}#{self._number}.{self._births}"

    @property
    def process_id(self) -> int | None:
        """Process id, None between two processes."""
        with self._lock:
            return None if self._process is None else self._process.process_id

    def start(self, report: Callable[[base.WorkerEvent], None]) -> None:
        """Keep a process alive from now on."""
        self._thread = threading.Thread(
            target=self._supervise, args=(report,), name=f"worker {self._device}", daemon=True
        )
        self._thread.start()

    def send(self, worker: str, message: Record) -> None:
        """Send a message if the worker is still the one named."""
        with self._lock:
            if worker == self.worker and self._process is not None:
                self._process.send(encode(message))

    def kill(self) -> None:
        """End the process at once."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def stop(self) -> None:
        """Let the process end and start no other."""
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.close_input()

    def join(self) -> None:
        """Wait until the process is gone."""
        if self._thread is not None:
            self._thread.join()

    def _supervise(self, report: Callable[[base.WorkerEvent], None]) -> None:
        failed_starts = 0
        while not self._stopping.is_set():
            process = self._spawn()
            worker = self.worker
            was_ready = self._listen(process, worker, report)
            ended = process.wait()
            with self._lock:
                self._process = None
            if not self._stopping.is_set():
                _log.warning(
                    "worker ended",
                    worker=worker,
                    device=self._device,
                    cause=ended.cause,
                    death=ended.death,
                )
            report(base.WorkerEnded(worker=worker, device=self._device, death=ended.death))
            failed_starts = 0 if was_ready else failed_starts + 1
            if failed_starts:
                self._stopping.wait(min(_MAX_BACKOFF_SECONDS, 2.0 ** (failed_starts - 1)))

    def _spawn(self) -> WorkerProcess:
        settings = self._settings
        configure = Configure(
            blobs_root=str(settings.blobs_root),
            device=self._device,
            threads=settings.threads,
            heartbeat_seconds=settings.heartbeat_seconds,
            engine=settings.engine,
            workers=len(settings.devices),
            memory_bytes=settings.device_memory_bytes,
            save_seconds=settings.save_seconds,
        )
        process = self._hosts.launch(self._number, configure)
        with self._lock:
            self._births += 1
            self._process = process
            if self._stopping.is_set():
                process.close_input()
        return process

    def _listen(
        self,
        process: WorkerProcess,
        worker: str,
        report: Callable[[base.WorkerEvent], None],
    ) -> bool:
        """Report what the process says until it ends; say whether it was ever ready."""
        ready = False
        for line in process.lines():
            event = _event(line, worker=worker, device=self._device)
            ready = ready or isinstance(event, base.WorkerReady)
            report(event)
        return ready


def _event(line: bytes, *, worker: str, device: str) -> base.WorkerEvent:
    message = FROM_WORKER.validate_json(line)
    match message:
        case Ready(memory_bytes=memory):
            return base.WorkerReady(worker=worker, device=device, memory_bytes=memory)
        case Beat():
            return base.WorkerBeat(worker=worker)
        case Started(group=group):
            return base.GroupStarted(worker=worker, group=group)
        case Stepped(group=group, done=done, total=total):
            return base.GroupStepped(worker=worker, group=group, done=done, total=total)
        case Resumed(group=group, steps=steps):
            return base.GroupResumed(worker=worker, group=group, steps=steps)
        case Saved(group=group):
            saved = tuple(
                base.ActionSaved(
                    key=ActionKey(own.key),
                    fence=own.fence,
                    step=own.step,
                    digest=Digest(own.digest),
                )
                for own in message.saved
            )
            return base.GroupSaved(worker=worker, group=group, saved=saved)
        case Abandoned(group=group):
            return base.GroupAbandoned(worker=worker, group=group)
        case Failed():
            failure = Failure(
                code=message.code,
                where=message.where,
                expected=message.expected,
                found=message.found,
                remedy=message.remedy,
            )
            return base.GroupFailed(worker=worker, group=message.group, failure=failure)
        case Done():
            results = tuple(
                base.ActionDone(
                    key=ActionKey(result.key),
                    fence=result.fence,
                    digest=Digest(result.digest),
                    size=result.size,
                    gradient_examples=result.gradient_examples,
                    execution=None if result.execution is None else Digest(result.execution),
                )
                for result in message.results
            )
            return base.GroupDone(
                worker=worker,
                group=message.group,
                results=results,
                compute_seconds=message.compute_seconds,
                peak_bytes=message.peak_bytes,
            )
