"""Puts the job half of the service together: records, scheduler, workers, servicers."""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

from securesystemslib.signer import Signer

from auditor.checks import needs_extra
from auditor.edge.clock import Clock
from service.activations import Activations
from service.admission import Admission
from service.blobs.objects import Objects
from service.capacity import Capacity
from service.config import ServiceConfig
from service.evaluation_sets import EvaluationSets
from service.executors.devices import resolve_devices, threads_a_worker
from service.executors.local import (
    DEFAULT_ENGINE,
    LocalExecutor,
    ProcessExecutor,
    WorkerSettings,
)
from service.executors.ray_settings import set_ray_environment
from service.finish import ReportSigner
from service.log_checks import LogChecks, LogJudge
from service.metrics import Metrics
from service.notices import Notices
from service.operations import AuditOperations
from service.paging import PageTokens
from service.planning import AuditPlanner
from service.queue_limit import PredictedBytes, PredictedSeconds, QueueLimit
from service.records.audits import SqlAudits
from service.records.base import CatalogueRecords
from service.records.checks import SqlLogChecks
from service.records.engine import Database
from service.records.front_end import ALONE, FrontEnd
from service.records.leases import SqlLeases
from service.records.reading import SqlAuditReader
from service.records.upkeep import SqlUpkeep
from service.rounds import CheckEnding, Rounds
from service.sandbox import Sandbox
from service.saved_states import SavedStates
from service.scheduler.arrivals import Arrivals
from service.scheduler.fair_share import FairShare
from service.scheduler.formation import Formation, SchedulerSettings
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.loop import Scheduler, Stop, Wake
from service.scheduler.memory import MemoryModel
from service.scheduler.overview import Overview
from service.scheduler.reactions import Reactions
from service.scheduler.setbacks import Setbacks
from service.servicers.admin import AdminServicer
from service.servicers.audit import AuditServicer
from service.servicers.operations import OperationsServicer
from service.stamping import open_stamper
from service.submission import AuditLimits, Submission
from service.telemetry import Telemetry
from service.threads import Threads
from service.watching import Watching

LOOK_SECONDS = 1.0
"""How often a watched audit is looked at for what other front ends did to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What the jobs need from the rest of the service.

    ``weights`` says how much of the devices each tenant is given, 1 for others; ``engine`` is what
    the workers load.
    """

    config: ServiceConfig
    database: Database
    catalogue: CatalogueRecords
    objects: Objects
    sandbox: Sandbox
    signer: Signer
    threads: Threads
    tokens: PageTokens
    clock: Clock
    metrics: Metrics
    weights: Mapping[str, float] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=Arrivals)
    engine: str = DEFAULT_ENGINE
    front_end: FrontEnd = ALONE


@final
class Jobs:
    """The running job half. Its blocking methods are called from threads, not from the loop."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        executor: ProcessExecutor,
        submission: Submission,
        stored: AuditOperations,
        checks: LogChecks,
        notices: Notices,
        overview: Overview,
        host: Host,
    ) -> None:
        self._scheduler = scheduler
        self._executor = executor
        self._watching = Watching(
            stored,
            notices=notices,
            overview=overview,
            threads=host.threads,
            clock=host.clock,
            look_seconds=LOOK_SECONDS if host.database.shared else None,
        )
        self._thread = threading.Thread(target=scheduler.run, name="scheduler", daemon=True)
        self.submission = submission
        self.stored = stored
        self.checks = checks
        self.notices = notices
        self.audits = AuditServicer(
            submission=submission,
            arrivals=host.arrivals,
            operations=stored,
            watching=self._watching,
            notices=notices,
            overview=overview,
            threads=host.threads,
            tokens=host.tokens,
        )
        self.admin = AdminServicer(overview)
        self.operations = OperationsServicer(
            operations=stored,
            watching=self._watching,
            notices=notices,
            threads=host.threads,
            tokens=host.tokens,
        )

    def start(self, *, on_workers: Callable[[int], None]) -> None:
        """Recover leases, start the workers and the scheduler.

        Args:
            on_workers: Called from the scheduler's thread with the number of workers that are
                ready, whenever it changes.
        """
        self._scheduler.on_workers(on_workers)
        self._scheduler.recover()
        self._executor.start(self._scheduler.report)
        self._thread.start()

    def refuse_new(self) -> None:
        """Take no new audits; those stored go on."""
        self.submission.close()

    def end_streams(self) -> None:
        """End watching calls; on the event loop."""
        self._watching.close()

    def drain(self, *, grace_seconds: float) -> bool:
        """Let workers stop at their next block boundary and say whether all did in time."""
        self._scheduler.drain()
        return self._scheduler.wait_idle(timeout_seconds=grace_seconds)

    def close(self) -> None:
        """End workers and scheduler; leases still held are put back."""
        self._executor.close()
        self._scheduler.report(Stop())
        if self._thread.ident is not None:
            self._thread.join()

    def worker_process_ids(self) -> tuple[int, ...]:
        """Return the process ids of the workers."""
        return self._executor.process_ids()


def open_jobs(host: Host) -> Jobs:
    """Build the job half; nothing runs before :meth:`Jobs.start`."""
    config, clock = host.config, host.clock

    def now() -> float:
        return clock.now().timestamp()

    audits = SqlAudits(host.database, now=now, front_end=host.front_end)
    reader = SqlAuditReader(host.database)
    leases = SqlLeases(host.database, now=now, front_end=host.front_end)
    upkeep = SqlUpkeep(host.database, now=now, front_end=host.front_end)
    notices = Notices()
    workers = _worker_settings(host)
    seconds = GroupSeconds()
    overview = Overview(
        clock,
        max_lanes=config.max_lanes,
        expected=seconds,
        devices=workers.devices,
        weights=host.weights,
    )
    telemetry = Telemetry(host.metrics, max_lanes=config.max_lanes, overview=overview)
    telemetry.queue_limit(config.limits.queue_bytes)
    planner = AuditPlanner(host.objects, activations=Activations(host.sandbox, host.objects).of)
    finisher = ReportSigner(
        host.objects,
        planner=planner,
        reader=reader,
        signer=host.signer,
        clock=clock,
        stamper=open_stamper(config.timestamp, clock=clock, metrics=host.metrics),
    )
    judge = LogJudge(host.objects, planner=planner)
    rounds = Rounds(
        audits=audits,
        reader=reader,
        planner=planner,
        finisher=finisher,
        checks=CheckEnding(judge=judge, records=SqlLogChecks(host.database, now=now)),
        notices=notices,
        telemetry=telemetry,
        held_seconds=config.lease_seconds,
    )
    executor = _open_executor(host, workers)
    setbacks = Setbacks(
        leases,
        host.objects,
        telemetry=telemetry,
        max_attempts=config.max_attempts,
        jitter=lambda: random.uniform(0.5, 1.5),  # noqa: S311 - spreads retries, no secret
    )
    memory = MemoryModel()
    reactions = Reactions(
        leases=leases,
        executor=executor,
        rounds=rounds,
        setbacks=setbacks,
        notices=notices,
        telemetry=telemetry,
        shares=FairShare(host.weights),
        formation=Formation(
            SchedulerSettings(
                max_lanes=config.max_lanes,
                lease_seconds=config.lease_seconds,
                max_batch_delay_seconds=config.max_batch_delay_seconds,
                memory=memory,
                seconds=seconds,
            ),
            arrivals=host.arrivals,
        ),
    )
    scheduler = Scheduler(
        reactions,
        upkeep,
        executor=executor,
        telemetry=telemetry,
        clock=clock,
        saved=SavedStates(config.blobs_root),
    )
    host.arrivals.on_last(lambda: scheduler.report(Wake()))
    submission = Submission(
        audits=audits,
        reader=reader,
        admission=Admission(
            host.catalogue,
            host.objects,
            planner=planner,
            evaluation_sets=EvaluationSets(host.sandbox),
            capacity=Capacity(
                planner=planner,
                memory=memory,
                max_lanes=config.max_lanes,
                limits=_queue_limits(config, seconds, overview),
            ),
        ),
        planner=planner,
        report=scheduler.report,
        telemetry=telemetry,
        clock=clock,
        limits=AuditLimits(
            live_audits=config.limits.live_audits,
            audit_seconds=config.limits.audit_seconds,
            audit_seconds_max=config.limits.audit_seconds_max,
        ),
    )
    return Jobs(
        scheduler=scheduler,
        executor=executor,
        submission=submission,
        stored=AuditOperations(
            audits=audits, reader=reader, rounds=rounds, report=scheduler.report
        ),
        checks=LogChecks(
            catalogue=host.catalogue,
            blobs=host.objects,
            planner=planner,
            judge=judge,
            submission=submission,
            reader=reader,
            clock=clock,
        ),
        notices=notices,
        overview=overview,
        host=host,
    )


def _queue_limits(
    config: ServiceConfig, seconds: GroupSeconds, overview: Overview
) -> tuple[QueueLimit, ...]:
    """Return how much may wait, by the settings."""
    predicted = PredictedSeconds(
        measured=seconds, workers=lambda: overview.workers, max_lanes=config.max_lanes
    )
    return (
        QueueLimit(measure=PredictedBytes(), most=config.limits.queue_bytes),
        QueueLimit(measure=predicted, most=config.limits.queue_seconds),
    )


def _open_executor(host: Host, workers: WorkerSettings) -> ProcessExecutor:
    """Return the executor that the settings name; it has started nothing."""
    config = host.config
    if config.executor == "local":
        return LocalExecutor(workers)
    set_ray_environment(config.ray)
    with needs_extra("ray", purpose="Running workers on a Ray cluster"):
        from service.executors.ray import RayExecutor  # noqa: PLC0415 - Ray is an extra
    return RayExecutor(workers, config=config.ray, front_end=host.front_end.id)


def _worker_settings(host: Host) -> WorkerSettings:
    config = host.config
    if config.executor == "local":
        devices = resolve_devices(config.devices)
        threads = threads_a_worker(config.threads_per_worker, workers=len(devices))
    else:
        devices = config.ray.devices
        threads = config.threads_per_worker or config.ray.cpus_per_worker
    return WorkerSettings(
        blobs_root=config.blobs_root.resolve(),
        devices=devices,
        threads=threads,
        heartbeat_seconds=config.heartbeat_seconds,
        engine=host.engine,
        device_memory_bytes=config.device_memory_bytes,
        save_seconds=config.save_seconds,
    )
