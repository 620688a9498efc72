"""How the service starts, refuses to start, and stops."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from auditor.errors import ConflictError, UnavailableError, UnsupportedError
from service.config import ServiceConfig
from service.main import serve
from tests.support.fake_engine import ENGINE
from tests.support.served import PATIENCE_SECONDS, served

PROGRAM = """
import asyncio, sys
from pathlib import Path
from service.config import ServiceConfig
from service.main import serve
config = ServiceConfig(
    data_dir=Path(sys.argv[1]), port=0, metrics_port=0, devices=("cpu",),
    drain_seconds=float(sys.argv[2]),
)
asyncio.run(
    serve(config, ready=lambda a: print(a.address, flush=True), engine=sys.argv[3])
)
"""


@contextmanager
def process(data_dir: Path, *, drain_seconds: float = 0) -> Iterator[subprocess.Popen[str]]:
    """Run a service as a process of its own, ready to answer."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data_dir), str(drain_seconds), ENGINE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("127.0.0.1:")
        try:
            yield running
        finally:
            running.kill()


def refused(config: ServiceConfig) -> None:
    asyncio.run(serve(config, engine=ENGINE))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_exits_with_zero(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path) as running:
        running.send_signal(number)

        assert running.wait(PATIENCE_SECONDS) == 0
    assert not (tmp_path / "server.json").exists()


def test_second_signal_does_not_wait_for_the_drain(tmp_path: Path) -> None:
    with process(tmp_path, drain_seconds=10 * PATIENCE_SECONDS) as running:
        address = json.loads((tmp_path / "server.json").read_text())["address"]
        with grpc.insecure_channel(address) as channel:
            statuses = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(statuses).status == health_pb2.HealthCheckResponse.SERVING
            running.send_signal(signal.SIGTERM)
            assert next(statuses).status == health_pb2.HealthCheckResponse.NOT_SERVING
        running.send_signal(signal.SIGTERM)

        assert running.wait(PATIENCE_SECONDS) == 0


def test_killed_service_starts_again(tmp_path: Path) -> None:
    with process(tmp_path) as running:
        running.kill()
        running.wait(PATIENCE_SECONDS)
    assert (tmp_path / "server.json").exists()

    with served(tmp_path) as service, service.client() as client:
        assert client.list_logs() == []


def test_data_folder_says_where_the_service_is_and_keeps_its_secrets(tmp_path: Path) -> None:
    with served(tmp_path / "data") as service:
        said = json.loads((tmp_path / "data" / "server.json").read_text())
        modes = {
            name: (tmp_path / "data" / name).stat().st_mode & 0o777
            for name in ("", "token", "keys", "keys/signing.pem")
        }

        assert said["address"] == service.address.address
        assert said["metrics_address"] == service.address.metrics_address
        assert modes == {"": 0o700, "token": 0o600, "keys": 0o700, "keys/signing.pem": 0o400}
    assert not (tmp_path / "data" / "server.json").exists()


def test_token_and_key_outlive_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        before = service.token, (tmp_path / "keys" / "signing.pem").read_bytes()
    with served(tmp_path) as service:
        after = service.token, (tmp_path / "keys" / "signing.pem").read_bytes()

    assert before == after


def test_folder_of_another_service_is_refused(tmp_path: Path) -> None:
    with served(tmp_path), pytest.raises(ConflictError, match="in use"):
        refused(ServiceConfig(data_dir=tmp_path, port=0, metrics_port=0, devices=("cpu",)))


def test_port_of_another_program_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = ServiceConfig(data_dir=tmp_path, port=port, metrics_port=0, devices=("cpu",))

        with pytest.raises(UnavailableError, match="in use"):
            refused(config)


def test_metrics_port_of_another_program_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = ServiceConfig(data_dir=tmp_path, port=0, metrics_port=port, devices=("cpu",))

        with pytest.raises(UnavailableError, match="in use"):
            refused(config)


def test_address_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    config = ServiceConfig(data_dir=tmp_path / "data", host="0.0.0.0", port=0)  # noqa: S104

    with pytest.raises(UnsupportedError, match="loopback"):
        refused(config)

    assert not (tmp_path / "data").exists()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UnavailableError, match="data folder"):
        refused(ServiceConfig(data_dir=tmp_path / "file" / "data", port=0, metrics_port=0))
