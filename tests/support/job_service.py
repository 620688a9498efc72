"""The job half of the service over a data folder, without gRPC: what integration tests drive."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.edge.clock import SystemClock
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.evaluation import parse_evaluation_set
from service.blobs.objects import Objects
from service.client import Client
from service.config import ServiceConfig
from service.executors.local import DEFAULT_ENGINE
from service.jobs import Host, Jobs, open_jobs
from service.keys import ensure_signing_key
from service.metrics import Metrics
from service.paging import PageTokens
from service.records.base import DEFAULT_TENANT, StageLogRow
from service.records.catalogue import SqlCatalogue
from service.records.engine import Database, open_engine
from service.records.jobs import AuditRow
from service.records.migrate import migrate
from service.records.reading import SqlAuditReader
from service.sandbox import Sandbox
from service.scheduler.states import LIVE_AUDITS
from service.submission import Ask
from service.threads import Threads
from tests.support.builders import RecordedRun

PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class JobService:
    """The running half and the records beneath it."""

    jobs: Jobs
    host: Host
    reader: SqlAuditReader
    workers: list[int]

    def adopt(self, run: RecordedRun) -> None:
        """Take over a recorded log and its evaluation set as if they had been pushed."""
        log = run.log
        manifest = canonical_bytes(log)
        evaluation = evaluation_blobs(run)
        sizes = {
            self.host.objects.write(run.blobs.read(Digest(d))): run.blobs.size(Digest(d))
            for d in (*log.blobs(), *evaluation)
        }
        sizes[self.host.objects.write(manifest)] = len(manifest)
        self.host.catalogue.add_blobs(DEFAULT_TENANT, sizes)
        row = StageLogRow(
            digest=run.digest,
            run=log.run.name,
            stages=tuple(stage.name for stage in log.stages),
            steps=log.stages[-1].end_step,
            level=log.level,
            size_bytes=sum(sizes.values()),
            created=0.0,
        )
        self.host.catalogue.add_stage_log(DEFAULT_TENANT, row, request=None)

    def wait(self, audit: str) -> AuditRow:
        """Return an audit once it is over."""
        news = threading.Event()
        with self.jobs.notices.listen(audit, news.set):
            while (row := self.reader.get(DEFAULT_TENANT, audit)).state in LIVE_AUDITS:
                assert news.wait(PATIENCE_SECONDS), f"no news of {row}"
                news.clear()
        return row

    def bundle(self, row: AuditRow) -> bytes:
        """Return the bundle of a succeeded audit."""
        assert row.report_digest is not None
        report = self.host.catalogue.report(DEFAULT_TENANT, row.report_digest)
        return bytes(self.host.objects.read(report.bundle_digest))


def evaluation_blobs(run: RecordedRun, evaluation: Digest | None = None) -> tuple[str, ...]:
    """Return the digests of an evaluation set's manifest and shards; by default the run's own."""
    digest = evaluation or run.evaluation
    manifest = parse_evaluation_set(run.blobs.read(digest))
    return (digest, *(shard.digest for shard in manifest.dataset.shards))


def make_request(run: RecordedRun, *, seed: int = 0, name: str = "loss") -> AuditRequest:
    """Return a small audit by exact retraining: the loss under a skip of every stage."""
    query = Query(name=name, kind=QueryKind.LOSS, better=Better.LOWER, data=run.evaluation)
    return AuditRequest(
        log=run.digest,
        interventions="stages",
        queries=(query,),
        estimator=RetrainSettings(),
        seed=seed,
    )


def push_run(client: Client, run: RecordedRun, folder: Path) -> None:
    """Send a recorded log and its evaluation set."""
    client.push_log(folder)
    for digest in evaluation_blobs(run):
        client.push_blob(bytes(run.blobs.read(Digest(digest))))


def make_ask(request: AuditRequest, *, request_id: str | None = None) -> Ask:
    return Ask(
        tenant=DEFAULT_TENANT,
        request_json=canonical_bytes(request).decode(),
        priority=1,
        deadline=None,
        request_id=request_id,
    )


@contextmanager
def job_service(
    data_dir: Path, *, engine: str = DEFAULT_ENGINE, **settings: Any
) -> Iterator[JobService]:
    """Run the job half until the block ends."""
    config = ServiceConfig(
        data_dir=data_dir,
        devices=("cpu",),
        threads_per_worker=1,
        heartbeat_seconds=0.5,
        **settings,
    )
    data_dir.mkdir(parents=True, exist_ok=True)
    clock, metrics = SystemClock(), Metrics()
    records = open_engine(config.records_path)
    migrate(records)
    database = Database(
        records, observe_seconds=lambda _name, _seconds: None, monotonic=clock.monotonic
    )
    host = Host(
        config=config,
        database=database,
        catalogue=SqlCatalogue(database, now=lambda: clock.now().timestamp()),
        objects=Objects(data_dir, metrics=metrics),
        sandbox=Sandbox(data_dir, limits=config.limits, clock=clock, metrics=metrics),
        signer=ensure_signing_key(config.keys_dir),
        threads=Threads(count=2),
        tokens=PageTokens(b"secret"),
        clock=clock,
        metrics=metrics,
        engine=engine,
    )
    jobs = open_jobs(host)
    workers: list[int] = []
    jobs.start(on_workers=workers.append)
    try:
        yield JobService(jobs=jobs, host=host, reader=SqlAuditReader(database), workers=workers)
    finally:
        jobs.close()
        host.threads.close()
        database.close()
