"""The real server as a process of its own, which tests may kill."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.client import Client

PATIENCE_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class ServerProcess:
    """A running server; ``address`` is where it listens."""

    process: subprocess.Popen[str]
    data_dir: Path
    address: str

    def client(self) -> Client:
        return Client(self.address, token=(self.data_dir / "token").read_text().strip())

    def worker_pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers that run now."""
        return tuple(pid for pid in self.descendants() if b"service.worker" in _line(pid))

    def descendants(self) -> tuple[int, ...]:
        """Return the process ids of its children, of theirs, and so on."""
        found = list(children_of(self.process.pid))
        for pid in found:
            found += children_of(pid)
        return tuple(found)

    def kill(self) -> None:
        """End the server with SIGKILL and wait until it and its workers are gone."""
        workers = self.worker_pids()
        descriptors = [d for pid in workers if (d := descriptor_of(pid)) is not None]
        self.process.kill()
        assert self.process.wait(timeout=PATIENCE_SECONDS) == -signal.SIGKILL
        for descriptor in descriptors:
            assert ended(descriptor), "a worker survived its server"

    def terminate(self) -> int:
        """Ask the server to drain and return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def server_process(data_dir: Path, *options: str) -> Iterator[ServerProcess]:
    """Start a server and wait until it is ready; it is killed at the end if it still runs.

    It computes on this machine's CPU unless ``options`` name an executor.
    """
    arguments = ("--data-dir", str(data_dir), "--port", "0", "--metrics-port", "0")
    where = () if "--executor" in options else ("--devices", "cpu")
    command = [sys.executable, "-m", "service.cli.main", "serve", *arguments, *where]
    with (data_dir.parent / f"{data_dir.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--json", *options], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
        assert readable, "the server did not get ready"
        address = json.loads(process.stdout.readline())["address"]
        yield ServerProcess(process=process, data_dir=data_dir, address=address)
    finally:
        process.kill()
        process.wait(timeout=PATIENCE_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def children_of(pid: int) -> tuple[int, ...]:
    """Return the child processes of a process, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:  # the thread is gone
            continue
    return tuple(found)


def kill_process(pid: int) -> bool:
    """End a process with SIGKILL, wait until it is gone, and say whether it was there."""
    descriptor = descriptor_of(pid)
    if descriptor is None:
        return False
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    assert ended(descriptor)
    return True


def parent_of(pid: int) -> int:
    """Return the process id of a process's parent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def ended(descriptor: int) -> bool:
    """Wait until the process behind a pidfd is gone, close it and say whether it is."""
    try:
        readable, _, _ = select.select([descriptor], [], [], PATIENCE_SECONDS)
        return bool(readable)
    finally:
        os.close(descriptor)


def descriptor_of(pid: int) -> int | None:
    """Return a pidfd of a process, None if it is gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
