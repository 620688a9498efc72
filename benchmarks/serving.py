"""A real service in a process of its own, for benchmarks that are its clients."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 120
POLL_SECONDS = 0.1
STOP_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Service:
    """Where a running service is."""

    address: str
    token: str
    pid: int


@contextmanager
def running_service(
    folder: Path, *, settings: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Start ``stageaudit serve`` on free ports, wait until it is ready, and stop it at the end.

    ``settings`` are environment variables beside those of folder and ports.
    """
    variables = {
        "STAGEAUDIT_DATA_DIR": str(folder),
        "STAGEAUDIT_PORT": "0",
        "STAGEAUDIT_METRICS_PORT": "0",
    }
    log_path = folder.with_suffix(".log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli.main", "serve"],
            env=os.environ | variables | dict(settings or {}),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        address = wait_until_ready(folder, process, log_path)
        token = (folder / "token").read_text().strip()
        yield Service(address=address, token=token, pid=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(folder: Path, process: subprocess.Popen[bytes], log_path: Path) -> str:
    """Return the address once the service answers that it serves.

    Raises:
        RuntimeError: If it ended, or was not ready in time.
    """
    pause = threading.Event()
    for _ in range(round(START_SECONDS / POLL_SECONDS)):
        if process.poll() is not None:
            break
        written = folder / "server.json"
        if written.exists():
            address = str(json.loads(written.read_text())["address"])
            if is_serving(address):
                return address
        pause.wait(POLL_SECONDS)
    raise RuntimeError(f"the service did not become ready:\n{log_path.read_text()[-2000:]}")


def is_serving(address: str) -> bool:
    """Ask the health service."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=1
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
