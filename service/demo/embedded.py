"""A service of its own for the demo: started on free ports, stopped at the end."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from auditor.errors import UnavailableError

START_SECONDS: Final = 120
STOP_SECONDS: Final = 60
TAIL_BYTES: Final = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Where the service listens."""

    address: str
    metrics_address: str
    data_dir: Path

    def metrics(self) -> str:
        """Return what ``/metrics`` says now."""
        parts = urlsplit(f"//{self.metrics_address}")
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@contextmanager
def embedded_service(data_dir: Path) -> Iterator[Embedded]:
    """Start ``stageaudit serve`` as a process, and stop it as an operator would: SIGTERM.

    Args:
        data_dir: Receives the service's data and its log ``service.log``.

    Yields:
        Where it listens; it is ready.

    Raises:
        UnavailableError: If it ends or says nothing while it should start.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / "service.log"
    command = [
        sys.executable, "-m", "service.cli.main", "serve", "--data-dir", str(data_dir),
        "--port", "0", "--metrics-port", "0", "--json",
    ]  # fmt: skip
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            yield _announced(process, data_dir=data_dir, log=log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _announced(process: "subprocess.Popen[bytes]", *, data_dir: Path, log: Path) -> Embedded:
    """Wait for the line that ``serve --json`` prints when it is ready."""
    stream = process.stdout
    heard = stream is not None and select.select([stream], [], [], START_SECONDS)[0]
    line = stream.readline() if stream is not None and heard else b""
    if not line:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            tail = file.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError(
            "embedded service",
            expected=f"a service that is ready within {START_SECONDS} s",
            found=tail or "silence",
            remedy=f"Read {log}, and run `stageaudit doctor`.",
        )
    said = json.loads(line)
    return Embedded(
        address=said["address"], metrics_address=said["metrics_address"], data_dir=data_dir
    )
