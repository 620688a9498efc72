"""Kill the worker and then the server at random moments: no accepted audit is lost or doubled.

Each life of the server ends with two kills. ``--chaos-lives 50`` is a hundred of them;
``--chaos-executor ray`` kills workers together with the Ray actors that hold their pipes.
"""

import hashlib
import random
import sqlite3
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditor.attest.bundle import parse_bundle
from auditor.attest.statement import Statement
from auditor.effects import Better, Query, QueryKind
from auditor.errors import UnavailableError
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.report.schema import Report
from service.client import Client
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.job_service import job_service, make_ask, push_run
from tests.support.server_process import (
    ServerProcess,
    descriptor_of,
    ended,
    kill_process,
    parent_of,
    server_process,
)

AUDITS = 30
SEED = 20261123
RTOL = 1e-5
LONGEST_SECONDS = 1.5
"""Random moments lie within this time after the server is ready, and after the worker's death."""


@dataclass
class Submission:
    """An audit to be asked for; its id makes asking twice harmless."""

    request: AuditRequest
    request_id: str
    name: str = ""


def make_submissions(run: RecordedRun, *, audits: int = AUDITS) -> list[Submission]:
    """Return audits that differ in how far they fade a stage."""
    rng = random.Random(SEED)  # noqa: S311 - moments, no secrets
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=run.evaluation)
    return [
        Submission(
            request=AuditRequest(
                log=run.digest,
                interventions=(Intervention(kind="fade", stage=f"stage{i % 3}", alpha=i / audits),),
                queries=(query,),
                estimator=RetrainSettings(),
                baselines=("checkpoint_delta",),
                consistency="skip",
            ),
            request_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        )
        for i in range(audits)
    ]


def submit(client: Client, submissions: list[Submission]) -> None:
    """Ask for audits until all are accepted or the server is gone."""
    for submission in submissions:
        if not submission.name:
            try:
                submission.name = client.create_audit(
                    submission.request, request_id=submission.request_id
                )
            except UnavailableError:
                return


def kill_at_random(server: ServerProcess, rng: random.Random, *, actors: bool) -> int:
    """Kill the worker, then the server; return how many workers died before their server.

    With ``actors``, in every other life the actor beside the worker is killed in its place.
    """
    never = threading.Event()
    assert not never.wait(rng.uniform(0, LONGEST_SECONDS))
    victims = server.worker_pids()
    if actors and rng.random() < 0.5:
        victims = tuple(parent_of(pid) for pid in victims)
    killed = sum(kill_process(pid) for pid in victims)
    assert not never.wait(rng.uniform(0, LONGEST_SECONDS))
    left = [d for pid in server.descendants() if (d := descriptor_of(pid)) is not None]
    server.kill()
    for descriptor in left:
        assert ended(descriptor), "a process survived its server"
    return killed


def figures(bundle: bytes) -> list[float]:
    """Return every figure that an audit reports."""
    report = report_of(bundle)
    effects = [e.value for e in report.effects]
    baselines = [value for e in report.effects for _, value in sorted(e.baselines.items())]
    return [*effects, *baselines, *(q.value for q in report.queries)]


def report_of(bundle: bytes) -> Report:
    return Statement.model_validate_json(parse_bundle(bundle).payload).predicate


def undisturbed(run: RecordedRun, submissions: list[Submission], folder: Path) -> list[list[float]]:
    """Return the figures of the same audits where nothing is killed."""
    with job_service(folder) as service:
        service.adopt(run)
        rows = [service.jobs.submission.create(make_ask(s.request)) for s in submissions]
        return [figures(service.bundle(service.wait(row.id))) for row in rows]


def leased_actions(data_dir: Path) -> int:
    """Return how many actions of a stopped server are still leased."""
    with sqlite3.connect(data_dir / "records.sqlite") as database:
        query = "SELECT count(*) FROM action WHERE state = 'LEASED'"
        (found,) = database.execute(query).fetchone()
    return int(found)


def damaged_blobs(data_dir: Path) -> list[str]:
    """Return the blobs whose bytes are not what their names say."""
    blobs = (data_dir / "sha256").glob("[0-9a-f][0-9a-f]/[0-9a-f]*")  # not what was being written
    return [p.name for p in blobs if hashlib.sha256(p.read_bytes()).hexdigest() != p.name]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_workers_and_servers_lose_and_double_nothing(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    lives = int(pytestconfig.getoption("--chaos-lives"))
    executor = str(pytestconfig.getoption("--chaos-executor"))
    options = ("--executor", executor)
    log_folder, data_dir = tmp_path / "log", tmp_path / "data"
    run = make_stage_log(folder=log_folder)
    submissions = make_submissions(run)
    expected = undisturbed(run, submissions, tmp_path / "undisturbed")
    rng = random.Random(SEED)  # noqa: S311 - moments, no secrets
    killed_workers = 0

    for life in range(lives):
        with server_process(data_dir, *options) as server, server.client() as client:
            if life == 0:
                push_run(client, run, log_folder)
            due = submissions[: AUDITS * (life + 1) // lives + 1]
            submitting = threading.Thread(target=submit, args=(client, due))
            submitting.start()
            killed_workers += kill_at_random(server, rng, actors=executor == "ray")
            submitting.join()
    with server_process(data_dir, *options) as server, server.client() as client:
        submit(client, submissions)
        audits = [client.wait(submission.name) for submission in submissions]
        reports = client.list_reports()
        found = [figures(client.get_report(audit["report"])) for audit in audits]
        status = server.terminate()

    assert [audit["state"] for audit in audits] == ["succeeded"] * AUDITS
    assert sorted(r["audit"] for r in reports) == sorted(s.name for s in submissions)
    assert len({submission.name for submission in submissions}) == AUDITS
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=RTOL, abs=1e-12)
    assert killed_workers >= lives // 4
    assert status == 0
    assert leased_actions(data_dir) == 0
    assert damaged_blobs(data_dir) == []
