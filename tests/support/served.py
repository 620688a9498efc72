"""A real service on free ports, in a thread of its own; its workers compute nothing."""

import asyncio
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from service.client import Client
from service.config import Limits, ServiceConfig
from service.data_dir import Address
from service.main import Stopping, serve
from tests.support.fake_engine import ENGINE

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a test knows about the running service."""

    address: Address
    config: ServiceConfig

    @property
    def token(self) -> str:
        return self.config.token_path.read_text().strip()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what a raw call has to send along."""
        return (("authorization", f"Bearer {self.token}"),)

    def client(self, **options: Any) -> Client:
        return Client(self.address.address, token=self.token, **options)

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address.address)

    def page(self, path: str, *, method: str = "GET") -> tuple[int, str]:
        """Return status and body of an HTTP page."""
        connection = http.client.HTTPConnection(self.address.metrics_address, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metric(self, sample: str) -> float:
        """Return the value of a line of /metrics, named as it begins; 0 without one."""
        lines = self.page("/metrics")[1].splitlines()
        values = [line.rpartition(" ")[2] for line in lines if line.startswith(sample + " ")]
        return float(values[0]) if values else 0.0

    def reaches(self, sample: str, value: float) -> bool:
        """Say whether a metric comes to a value: calls are counted after they are answered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self.metric(sample) == value:
                return True
        return False


@contextmanager
def served(
    data_dir: Path, *, limits: Limits | None = None, engine: str = ENGINE, **settings: Any
) -> Iterator[Served]:
    """Run a service over ``data_dir`` until the block ends, then drain it."""
    config = ServiceConfig(
        data_dir=data_dir,
        port=0,
        metrics_port=0,
        devices=("cpu",),
        threads_per_worker=1,
        drain_seconds=0,
        grace_seconds=5,
        limits=limits or Limits(),
        **settings,
    )
    heard = threading.Event()
    addresses: list[Address] = []
    failures: list[BaseException] = []
    handles: list[tuple[asyncio.AbstractEventLoop, Stopping]] = []

    def ready(address: Address) -> None:
        addresses.append(address)
        heard.set()

    async def run() -> None:
        stopping = Stopping.new()
        handles.append((asyncio.get_running_loop(), stopping))
        await serve(config, ready=ready, stopping=stopping, engine=engine)

    def target() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)
        finally:
            heard.set()

    thread = threading.Thread(target=target, name="service")
    thread.start()
    try:
        assert heard.wait(PATIENCE_SECONDS)
        if failures:
            raise failures[0]
        yield Served(address=addresses[0], config=config)
    finally:
        if thread.is_alive():
            loop, stopping = handles[0]
            loop.call_soon_threadsafe(stopping.ask)
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
