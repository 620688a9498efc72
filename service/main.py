"""The composition root: everything is made here, in the order in which it can be relied upon.

Settings, schema, leases and uploads, signing key, then the server listens as NOT_SERVING, the
workers start, and with the first of them the service is SERVING. The way down is the reverse.
"""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy import false, update

from auditor.edge.clock import Clock, SystemClock
from auditor.errors import AuditorError
from service.auth import TokenAuthority
from service.blobs.objects import Objects
from service.blobs.uploads import Uploads
from service.config import ServiceConfig
from service.data_dir import (
    Address,
    front_end_name,
    held_data_dir,
    remove_address,
    uploads_folder,
    write_address,
)
from service.executors.local import DEFAULT_ENGINE
from service.http import Pages
from service.interceptors import Edge
from service.jobs import Host, Jobs, open_jobs
from service.logs import configure_logs
from service.metrics import Metrics
from service.own_trust import own_trust
from service.paging import PageTokens
from service.records.catalogue import SqlCatalogue
from service.records.clock import DatabaseClock
from service.records.engine import Database, open_engine
from service.records.front_end import FrontEnd
from service.records.migrate import migrate
from service.records.tables import tenant
from service.report_links import ReportLinks, load_or_create_link_key
from service.report_pages import ReportPages
from service.sandbox import Sandbox
from service.server import Servicers, build_server, listen
from service.servicers.blob import BlobServicer
from service.servicers.health import Readiness
from service.servicers.model import ModelServicer
from service.servicers.policy import PolicyServicer
from service.servicers.report import ReportServicer
from service.servicers.stage_log import StageLogServicer
from service.signing import service_signer
from service.threads import Threads
from service.token_file import load_or_create_tokens, weights_of
from service.versions import installed_versions

THREADS = 16
PROBE_SECONDS = 5.0

RECORDS, STORE, SIGNER, WORKERS = "records", "store", "signer", "workers"

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """How a running service is told to stop: first gently, then at once."""

    gently: asyncio.Event
    at_once: asyncio.Event

    @classmethod
    def new(cls) -> "Stopping":
        """Return one that has not been told anything."""
        return cls(gently=asyncio.Event(), at_once=asyncio.Event())

    def ask(self) -> None:
        """Ask to stop; the second time means at once. On the event loop."""
        (self.at_once if self.gently.is_set() else self.gently).set()


async def serve(
    config: ServiceConfig,
    *,
    ready: Callable[[Address], None] | None = None,
    stopping: Stopping | None = None,
    clock: Clock | None = None,
    engine: str = DEFAULT_ENGINE,
) -> None:
    """Run a service until it is told to stop by SIGTERM, SIGINT or ``stopping``.

    Args:
        config: The settings.
        ready: Called once the service takes requests.
        stopping: Tells it to stop, where signals cannot.
        clock: The time; the machine's by default.
        engine: ``module:function`` that the workers compute with.

    Raises:
        UnsupportedError: If it was to listen on an address that is not loopback.
        ConflictError: If another service has the data folder.
        PreconditionError: If the database was written by a newer version.
        UnavailableError: If folder or port cannot be used.
    """
    config.require_loopback()
    if not structlog.is_configured():
        configure_logs()
    stopping = stopping or Stopping.new()
    with held_data_dir(config), _signals(stopping) as arm:
        async with _opened(config, clock=clock or SystemClock(), engine=engine) as service:
            try:
                address = await service.start()
                arm()  # again: Ray has a handler of its own, which ends the process after 3 s
                _log.info("listening", address=address.address, metrics=address.metrics_address)
                await service.watch(stopping, address, ready=ready)
                await service.drain(stopping)
            finally:
                await service.stop()
    _log.info("stopped")


class _Service:
    """The parts of a running service, and how they start and stop."""

    def __init__(
        self,
        config: ServiceConfig,
        *,
        edge: Edge,
        servicers: Servicers,
        jobs: Jobs,
        readiness: Readiness,
        pages: Pages,
        threads: Threads,
        probes: dict[str, Callable[[], None]],
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._readiness = readiness
        self._pages = pages
        self._threads = threads
        self._probes = probes
        self._server = build_server(config, edge=edge, servicers=servicers, readiness=readiness)

    async def start(self) -> Address:
        """Listen as NOT_SERVING, then start the workers."""
        host = self._config.host
        port = listen(self._server, host=host, port=self._config.port)
        metrics_port = await self._pages.listen(host=host, port=self._config.metrics_port)
        await self._readiness.begin()
        await self._server.start()
        await self._readiness.report(SIGNER, holds=True)
        loop = asyncio.get_running_loop()

        def on_workers(count: int) -> None:
            loop.call_soon_threadsafe(self._count_workers, count)

        await self._threads.run(self._jobs.start, on_workers=on_workers)
        shown = f"[{host}]" if ":" in host else host
        address = Address(
            address=f"{shown}:{port}", metrics_address=f"{shown}:{metrics_port}", pid=os.getpid()
        )
        write_address(self._config, address)
        return address

    async def watch(
        self, stopping: Stopping, address: Address, *, ready: Callable[[Address], None] | None
    ) -> None:
        """Probe database and store from time to time until the service is told to stop."""
        announcing = asyncio.create_task(self._announce(address, ready=ready))
        try:
            while not stopping.gently.is_set():
                for condition, probe in self._probes.items():
                    await self._readiness.report(condition, holds=await self._holds(probe))
                await _wait(stopping.gently, seconds=PROBE_SECONDS)
        finally:
            announcing.cancel()

    async def drain(self, stopping: Stopping) -> None:
        """Let nothing new in and what is under way end, unless there is a hurry."""
        _log.info("stopping")
        self._jobs.refuse_new()
        await self._readiness.drain()
        ending = asyncio.create_task(self._end_work())
        hurry = asyncio.create_task(stopping.at_once.wait())
        await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        ending.cancel()
        await asyncio.wait({ending})

    async def stop(self) -> None:
        """End everything now; what workers held is put back when the service starts again."""
        self._jobs.end_streams()
        await self._server.stop(grace=0)
        await self._threads.run(self._jobs.close)
        await self._pages.close()
        remove_address(self._config)

    async def _announce(self, address: Address, *, ready: Callable[[Address], None] | None) -> None:
        await self._readiness.became_ready.wait()
        _log.info("ready", address=address.address)
        if ready is not None:
            ready(address)

    async def _end_work(self) -> None:
        """Go on answering for a while, then let blocks and calls under way end."""
        await asyncio.sleep(self._config.drain_seconds)
        grace = self._config.grace_seconds
        if not await self._threads.run(self._jobs.drain, grace_seconds=grace):
            _log.warning("workers did not stop in time", grace_seconds=grace)
        self._jobs.end_streams()
        await self._server.stop(grace=grace)

    def _count_workers(self, count: int) -> None:
        # The loop holds tasks weakly; this one ends before anything could drop it.
        self._reporting = asyncio.ensure_future(self._readiness.report(WORKERS, holds=count > 0))

    async def _holds(self, probe: Callable[[], None]) -> bool:
        try:
            await self._threads.run(probe)
        except (AuditorError, OSError) as error:
            _log.warning("probe failed", error=str(error))
            return False
        return True


@asynccontextmanager
async def _opened(config: ServiceConfig, *, clock: Clock, engine: str) -> AsyncIterator[_Service]:
    """Make every part; what was opened is closed in reverse.

    Yields:
        The service, not yet listening.
    """
    metrics = Metrics()
    metrics.build.info(installed_versions())
    threads = Threads(count=THREADS)
    database_engine = open_engine(config.records_at)
    migrate(database_engine)
    database = Database(
        database_engine,
        observe_seconds=lambda name, s: metrics.transaction_seconds.labels(name).observe(s),
        monotonic=clock.monotonic,
    )
    # Hosts that judge each other's leases read one clock; alone, the machine's own will do.
    shared_clock = DatabaseClock(database, clock=clock) if database.shared else None
    clock = shared_clock or clock
    front_end = front_end_name(config, clock=clock)
    catalogue = SqlCatalogue(database, now=lambda: clock.now().timestamp())
    objects = Objects(config.blobs_root, metrics=metrics)
    uploads_dir = uploads_folder(config, front_end=front_end)
    uploads = Uploads(
        uploads_dir, objects=objects, limits=config.limits, clock=clock, metrics=metrics
    )
    removed = uploads.remove_idle()
    if removed:
        _log.info("idle uploads removed", uploads=removed)
    signer = service_signer(config, clock=clock)
    entries = load_or_create_tokens(config.token_path)
    tokens = PageTokens(entries[0].token.encode())
    links = ReportLinks(load_or_create_link_key(config.link_key_path))
    readiness = Readiness(conditions=(RECORDS, STORE, SIGNER, WORKERS), metrics=metrics)
    pages = Pages(
        metrics=metrics,
        readiness=readiness,
        reports=ReportPages(
            records=catalogue,
            blobs=objects,
            links=links,
            trust=own_trust(config.keys_dir),
            clock=clock,
        ),
        threads=threads,
    )
    sandbox = Sandbox(config.blobs_root, limits=config.limits, clock=clock, metrics=metrics)
    jobs = open_jobs(
        Host(
            config=config,
            database=database,
            catalogue=catalogue,
            objects=objects,
            sandbox=sandbox,
            signer=signer,
            threads=threads,
            tokens=tokens,
            clock=clock,
            metrics=metrics,
            weights=weights_of(entries),
            engine=engine,
            front_end=FrontEnd(id=front_end),
        )
    )

    def probe_store() -> None:
        path = uploads_dir / ".probe"
        path.write_bytes(b"")
        path.unlink()
        objects.observe_free_space()

    def probe_records() -> None:
        nothing = update(tenant).where(false()).values(weight=tenant.c.weight)
        database.write("probe", lambda connection: connection.execute(nothing))
        if shared_clock is not None:
            shared_clock.measure()

    try:
        yield _Service(
            config,
            edge=Edge(
                authority=TokenAuthority(entries),
                metrics=metrics,
                limits=config.limits,
                clock=clock,
            ),
            servicers=Servicers(
                blobs=BlobServicer(
                    objects=objects,
                    uploads=uploads,
                    records=catalogue,
                    threads=threads,
                    metrics=metrics,
                ),
                stage_logs=StageLogServicer(
                    records=catalogue,
                    sandbox=sandbox,
                    threads=threads,
                    tokens=tokens,
                    clock=clock,
                    checks=jobs.checks,
                ),
                models=ModelServicer(
                    records=catalogue,
                    sandbox=sandbox,
                    threads=threads,
                    tokens=tokens,
                    clock=clock,
                ),
                audits=jobs.audits,
                operations=jobs.operations,
                reports=ReportServicer(
                    records=catalogue,
                    blobs=objects,
                    threads=threads,
                    tokens=tokens,
                    links=links,
                    pages_url=lambda: pages.url,
                    clock=clock,
                ),
                policies=PolicyServicer(
                    records=catalogue, blobs=objects, threads=threads, clock=clock
                ),
                admin=jobs.admin,
            ),
            jobs=jobs,
            readiness=readiness,
            pages=pages,
            threads=threads,
            probes={RECORDS: probe_records, STORE: probe_store},
        )
    finally:
        threads.close()
        uploads.close()
        database.close()


@contextmanager
def _signals(stopping: Stopping) -> Iterator[Callable[[], None]]:
    """Let SIGTERM and Ctrl-C ask to stop, where this thread gets signals at all.

    Yields:
        What takes the signals back, should something else have taken them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def arm() -> None:
        for number in numbers:
            loop.add_signal_handler(number, stopping.ask)

    arm()
    try:
        yield arm
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _wait(event: asyncio.Event, *, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
