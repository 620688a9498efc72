"""A process that runs :mod:`service.worker`: what one has to offer, and one on this machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, final

from service.executors.cgroup import oom_kills
from service.executors.wire import Configure
from service.scheduler.leases import Death

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from service.worker import main; main()"
)
_FAULTS = frozenset({
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGILL,
    signal.SIGFPE,
})
_STOP_SECONDS = 5.0
_CHUNK_BYTES = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended, and what is known of the cause, for the log."""

    death: Death
    cause: str


class WorkerProcess(Protocol):
    """A process that runs :mod:`service.worker`, wherever it is; one thread reads it.

    The other methods may be called from any thread, and do nothing once it has ended.
    """

    @property
    def process_id(self) -> int | None:
        """Its id on its host; None while it is not known."""

    def send(self, line: bytes) -> None:
        """Tell it something: one encoded message."""

    def lines(self) -> Iterator[bytes]:
        """Yield the messages that it sends, until it ends."""

    def wait(self) -> Ended:
        """Return how it ended, once it has; after the last of its lines."""

    def kill(self) -> None:
        """End it at once."""

    def close_input(self) -> None:
        """End its pipe, which ends a worker."""


class Hosts(Protocol):
    """Where worker processes run."""

    def open(self) -> None:
        """Make sure that there is room for every worker.

        Raises:
            UnavailableError: If there is not.
        """

    def launch(self, place: int, configure: Configure) -> WorkerProcess:
        """Start a worker process; it is told how to configure itself.

        Args:
            place: Which of the places for one process, from 0; it is empty.
            configure: The first message, as if all workers shared one machine.
        """

    def close(self) -> None:
        """Give up the places; every process has ended."""


@final
class LocalProcess:
    """A :class:`WorkerProcess` that is a child of this process."""

    def __init__(self) -> None:
        self._kills_before = oom_kills()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def process_id(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Write a message to its pipe."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(line)
                self._process.stdin.flush()
            except (OSError, ValueError):  # it has ended or is stopping: who reads it learns it
                return

    def read(self) -> bytes:
        """Return the next bytes that it sends; nothing at the end of its pipe."""
        pipe = self._process.stdout
        return b"" if pipe is None else os.read(pipe.fileno(), _CHUNK_BYTES)

    def lines(self) -> Iterator[bytes]:
        """Yield the messages that it sends, until it ends."""
        yield from whole_lines(iter(self.read, b""))

    def wait(self) -> Ended:
        """Return how it ended; it is given a moment between its pipe's end and its own."""
        try:
            code = self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its pipe and goes on
            self._process.kill()
            code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe.close)
        death = death_of(code, oom_kills_meanwhile=oom_kills() - self._kills_before)
        return Ended(death=death, cause=f"exit code {code}")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close_input(self) -> None:
        """End its pipe."""
        if self._process.stdin is not None:
            _close(self._process.stdin.close)


def death_of(code: int, *, oom_kills_meanwhile: int) -> Death:
    """Return what an exit code says: negative is the signal that ended the process."""
    if code < 0:
        by_kernel = -code == signal.SIGKILL and oom_kills_meanwhile > 0
        return Death.FAULT if by_kernel or -code in _FAULTS else Death.KILLED
    return Death.EXIT


def whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield every line that is complete; a process that was killed may leave half of one."""
    waiting = b""
    for chunk in chunks:
        *lines, waiting = (waiting + chunk).split(b"\n")
        yield from lines


def _close(close: Callable[[], None]) -> None:
    try:
        close()
    except OSError:  # what was buffered for a process that is gone
        return
