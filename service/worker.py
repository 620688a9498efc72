"""A worker process: takes groups over a pipe, computes them on one device, answers digests.

It touches blobs and nothing else of the service. Three threads: the main thread computes, one
reads the pipe, one says that the process is alive. The end of the pipe ends the process at once,
whatever it is doing: a server that was killed leaves no worker behind.
"""

import importlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn, final

from pydantic import TypeAdapter

from auditor.audit.out_of_memory import is_out_of_memory, out_of_memory
from auditor.edge.folder import FolderBlobs
from auditor.errors import AuditorError, InternalError, UnavailableError
from auditor.plan.actions import ActionKey, ActionSpec
from auditor.stagelog.digest import Digest
from auditor.stagelog.record import Record
from service.executors.base import Engine
from service.executors.device_memory import MemoryMeter, meter_of
from service.executors.wire import (
    TO_WORKER,
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
    Started,
    Stepped,
    WireAction,
    WireResult,
    encode,
)
from service.saved_states import SavedStates
from service.saving import Saving

PROGRESS_SECONDS = 0.1
EXIT_DEVICE_LOST = 70
EXIT_UNUSABLE = 71

_SPEC: TypeAdapter[ActionSpec] = TypeAdapter(ActionSpec)


class _GroupStopped(Exception):  # noqa: N818 - a signal, not an error
    """Raised at a block boundary to leave the computation."""


@final
class Outbox:
    """Sends messages to the front end, from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: Record) -> None:
        """Send one message; a front end that is gone ends the process."""
        try:
            with self._lock:
                self._pipe.write(encode(message))
                self._pipe.flush()
        except OSError:
            os._exit(0)


@final
class Inbox:
    """What the front end has asked for: groups in order, cancelled actions, the wish to drain."""

    def __init__(self) -> None:
        self.groups: queue.SimpleQueue[RunGroup] = queue.SimpleQueue()
        self.draining = threading.Event()
        self._cancelled: set[tuple[int, str]] = set()
        self._lock = threading.Lock()

    def read(self, pipe: BinaryIO) -> None:
        """Take messages until the pipe ends, then end the process."""
        for line in pipe:
            message = TO_WORKER.validate_json(line)
            match message:
                case RunGroup():
                    self.groups.put(message)
                case CancelActions(group=group, keys=keys):
                    with self._lock:
                        self._cancelled |= {(group, key) for key in keys}
                case Drain():
                    self.draining.set()
                case Configure():
                    break
        os._exit(0)

    def wanted(self, group: RunGroup) -> tuple[WireAction, ...]:
        """Return the actions of a group that are not cancelled."""
        with self._lock:
            return tuple(
                action
                for action in group.actions
                if (group.group, action.key) not in self._cancelled
            )

    def forget(self, group: RunGroup) -> None:
        """Drop what is known about a group that has ended."""
        with self._lock:
            self._cancelled = {entry for entry in self._cancelled if entry[0] != group.group}


@final
class GroupRunner:
    """Computes groups one after the other.

    Args:
        engine: The library on its device.
        blobs: Where results are.
        inbox: What is asked for.
        outbox: Where answers go.
        meter: Measures what groups need.
        saving: Stores where actions are.
        monotonic: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: FolderBlobs,
        *,
        inbox: Inbox,
        outbox: Outbox,
        meter: MemoryMeter,
        saving: Saving,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._meter = meter
        self._blobs = blobs
        self._inbox = inbox
        self._outbox = outbox
        self._saving = saving
        self._monotonic = monotonic
        self._progress_at = 0.0

    def run(self, group: RunGroup) -> None:
        """Compute one group and send its end; raises nothing but what ends the process."""
        try:
            answer = self._answer(group)
        except _GroupStopped:
            answer = Abandoned(group=group.group)
        except AuditorError as error:
            answer = failed(group.group, error)
        except Exception as error:  # noqa: BLE001 - the executor loop: any error is an answer
            sys.stderr.write(traceback.format_exc())
            translated = translate(error)
            answer = failed(group.group, translated)
            if isinstance(translated, UnavailableError):
                self._outbox.send(answer)
                os._exit(EXIT_DEVICE_LOST)  # the device's context is dead, the next process has one
        self._inbox.forget(group)
        self._outbox.send(answer)

    def _answer(self, group: RunGroup) -> Record:
        if self._inbox.draining.is_set():
            raise _GroupStopped
        self._outbox.send(Started(group=group.group))
        started = self._monotonic()
        steps = self._saving.begin(self._inbox.wanted(group))
        if steps:
            self._outbox.send(Resumed(group=group.group, steps=steps))
        while actions := self._inbox.wanted(group):
            try:
                results = self._compute(group, actions)
                return Done(
                    group=group.group,
                    results=results,
                    compute_seconds=self._monotonic() - started,
                    peak_bytes=self._meter.peak_bytes(),
                )
            except _GroupStopped:
                if self._inbox.draining.is_set():
                    raise
                # Some lanes are cancelled: the others go on without them.
        self._engine.forget()  # else its states stay on the device until the next group
        # What was computed is paid for, whether anybody still wants it or not.
        return Done(group=group.group, results=(), compute_seconds=self._monotonic() - started)

    def _compute(self, group: RunGroup, actions: tuple[WireAction, ...]) -> tuple[WireResult, ...]:
        self._meter.begin()
        outcomes = self._engine.execute(
            [_SPEC.validate_json(action.spec) for action in actions],
            results={ActionKey(key): Digest(value) for key, value in group.results.items()},
            on_block=self._on_block(group, actions),
        )
        return tuple(
            WireResult(
                key=action.key,
                fence=action.fence,
                digest=outcome.digest,
                size=self._blobs.size(outcome.digest),
                gradient_examples=outcome.gradient_examples,
                execution=outcome.execution,
            )
            for action, outcome in zip(actions, outcomes, strict=True)
        )

    def _on_block(
        self, group: RunGroup, actions: tuple[WireAction, ...]
    ) -> Callable[[int, int], None]:
        def on_block(done: int, total: int) -> None:
            draining, wanted = self._inbox.draining.is_set(), self._inbox.wanted(group)
            if draining or self._saving.due:
                saved = self._saving.save(group.group, wanted)
                if saved is not None:
                    self._outbox.send(saved)
            if draining or wanted != actions:
                raise _GroupStopped
            now = self._monotonic()
            if now - self._progress_at >= PROGRESS_SECONDS:
                self._progress_at = now
                self._outbox.send(Stepped(group=group.group, done=done, total=total))

        return on_block


def translate(error: Exception) -> AuditorError:
    """Return what an error that is not ours means: out of memory, device lost, or our bug."""
    if is_out_of_memory(error):
        return out_of_memory(error)
    text = str(error)
    if "CUDA error" in text or "device-side assert" in text:
        return UnavailableError(
            "device",
            expected="a device that answers",
            found=text.splitlines()[0],
            remedy="The worker starts again; check the device if this repeats.",
        )
    return InternalError(
        "action",
        expected="a result or a typed error",
        found=type(error).__name__,
        remedy="Report this with the worker's log.",
    )


def failed(group: int, error: AuditorError) -> Failed:
    """Return the message that tells of an error."""
    return Failed(
        group=group,
        code=error.code,
        where=error.where,
        expected=error.expected,
        found=error.found,
        remedy=error.remedy,
    )


def load_engine(configure: Configure, blobs: FolderBlobs) -> Engine:
    """Import and call the engine's factory."""
    module, _, name = configure.engine.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(
        blobs, device=configure.device, threads=configure.threads
    )
    return engine


def main() -> NoReturn:
    """Serve until the pipe ends; threads may be inside a library, so no shutdown waits for them."""
    os._exit(_serve())


def _serve() -> int:
    # Libraries print to standard output: it becomes standard error, and only we know the pipe.
    outbox = Outbox(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    pipe = sys.stdin.buffer
    first = pipe.readline()
    if not first:
        return 0
    configure = TO_WORKER.validate_json(first)
    if not isinstance(configure, Configure):
        return EXIT_UNUSABLE

    inbox = Inbox()
    threading.Thread(target=inbox.read, args=(pipe,), daemon=True).start()
    blobs = FolderBlobs(Path(configure.blobs_root))
    try:
        engine = load_engine(configure, blobs)
    except UnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNUSABLE
    meter = meter_of(configure.device)
    budget = configure.memory_bytes or meter.budget_bytes(workers=configure.workers)
    outbox.send(Ready(memory_bytes=budget))
    threading.Thread(target=_beat, args=(outbox, configure.heartbeat_seconds), daemon=True).start()
    saving = Saving(
        engine,
        SavedStates(Path(configure.blobs_root)),
        seconds=configure.save_seconds,
        monotonic=time.monotonic,
    )
    runner = GroupRunner(engine, blobs, inbox=inbox, outbox=outbox, meter=meter, saving=saving)
    while True:
        runner.run(inbox.groups.get())


def _beat(outbox: Outbox, seconds: float) -> None:
    never = threading.Event()
    while not never.wait(seconds):
        outbox.send(Beat())
