"""A real server with everything but audits, on a free port, in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.longrunning import operations_pb2_grpc

from auditor.edge.clock import SystemClock
from service.auth import TokenAuthority, load_or_create_token
from service.blobs.objects import Objects
from service.blobs.uploads import Uploads
from service.client import Client
from service.config import Limits, ServiceConfig
from service.http import Pages
from service.interceptors import Edge
from service.metrics import Metrics
from service.paging import PageTokens
from service.pb.v1.audit_service_pb2_grpc import AuditServiceServicer
from service.records.catalogue import SqlCatalogue
from service.records.engine import Database, open_engine
from service.records.migrate import migrate
from service.sandbox import Sandbox
from service.server import Servicers, build_server, listen
from service.servicers.blob import BlobServicer
from service.servicers.health import Readiness
from service.servicers.model import ModelServicer
from service.servicers.report import ReportServicer
from service.servicers.stage_log import StageLogServicer
from service.threads import Threads


@dataclass(frozen=True, kw_only=True)
class EdgeServer:
    """What a test knows about the running server."""

    address: str
    http_port: int
    token: str
    config: ServiceConfig
    metrics: Metrics
    catalogue: SqlCatalogue
    objects: Objects
    readiness: Readiness

    def client(self, **options: Any) -> Client:
        return Client(self.address, token=self.token, **options)

    def value(self, name: str, **labels: str) -> float:
        """Return a metric's value; 0 when it has none yet."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def edge_server(data_dir: Path, *, limits: Limits | None = None) -> Iterator[EdgeServer]:
    """Run a server over ``data_dir`` until the block ends."""
    config = ServiceConfig(data_dir=data_dir, port=0, metrics_port=0, limits=limits or Limits())
    config.uploads_dir.mkdir(parents=True, exist_ok=True)
    started: list[EdgeServer] = []
    failed: list[BaseException] = []
    listening = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with _serving(config) as server:
            started.append(server)
            listening.set()
            await stop.wait()

    def target() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failed.append(error)
        finally:
            listening.set()
            loop.close()

    thread = threading.Thread(target=target)
    thread.start()
    assert listening.wait(timeout=30)
    try:
        if failed:
            raise failed[0]
        yield started[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)
    if failed:
        raise failed[0]


class _serving:  # noqa: N801 - used like a function
    def __init__(self, config: ServiceConfig) -> None:
        self._config = config

    async def __aenter__(self) -> EdgeServer:
        config, clock, metrics = self._config, SystemClock(), Metrics()
        self._threads = Threads(count=8)
        self._database = Database(
            _migrated(config.records_path),
            observe_seconds=lambda name, s: metrics.transaction_seconds.labels(name).observe(s),
            monotonic=clock.monotonic,
        )
        catalogue = SqlCatalogue(self._database, now=lambda: clock.now().timestamp())
        objects = Objects(config.data_dir, metrics=metrics)
        self._uploads = uploads = Uploads(
            config.uploads_dir, objects=objects, limits=config.limits, clock=clock, metrics=metrics
        )
        token = load_or_create_token(config.token_path)
        readiness = Readiness(conditions=("store",), metrics=metrics)
        sandbox = Sandbox(config.data_dir, limits=config.limits, clock=clock, metrics=metrics)
        registering = {
            "records": catalogue,
            "sandbox": sandbox,
            "threads": self._threads,
            "tokens": PageTokens(token.encode()),
            "clock": clock,
        }
        servicers = Servicers(
            blobs=BlobServicer(
                objects=objects,
                uploads=uploads,
                records=catalogue,
                threads=self._threads,
                metrics=metrics,
            ),
            stage_logs=StageLogServicer(**registering),
            models=ModelServicer(**registering),
            audits=AuditServiceServicer(),
            operations=operations_pb2_grpc.OperationsServicer(),
            reports=ReportServicer(
                records=catalogue,
                blobs=objects,
                threads=self._threads,
                tokens=PageTokens(token.encode()),
            ),
        )
        edge = Edge(
            authority=TokenAuthority(token), metrics=metrics, limits=config.limits, clock=clock
        )
        self._server = build_server(config, edge=edge, servicers=servicers, readiness=readiness)
        self._pages = Pages(metrics=metrics, readiness=readiness, threads=self._threads)
        port = listen(self._server, host=config.host, port=config.port)
        http_port = await self._pages.listen(host=config.host, port=0)
        await readiness.begin()
        await self._server.start()
        await readiness.report("store", holds=True)
        return EdgeServer(
            address=f"{config.host}:{port}",
            http_port=http_port,
            token=token,
            config=config,
            metrics=metrics,
            catalogue=catalogue,
            objects=objects,
            readiness=readiness,
        )

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(grace=1)
        await self._pages.close()
        self._threads.close()
        self._uploads.close()
        self._database.close()


def _migrated(path: Path) -> Any:
    engine = open_engine(path)
    migrate(engine)
    return engine
