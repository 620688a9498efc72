"""Stopping a service that computes: nothing is lost, and no attempt is spent."""

from pathlib import Path

from sqlalchemy import select

from service.records.base import DEFAULT_TENANT
from service.records.engine import open_engine
from service.records.tables import action
from service.scheduler.states import ActionState, AuditState
from tests.support.builders import make_stage_log
from tests.support.fake_engine import ENDLESS
from tests.support.job_service import job_service, make_ask, make_request, push_run
from tests.support.served import served


def test_drain_puts_work_back_and_the_next_service_finishes_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    run = make_stage_log(folder=tmp_path / "log")
    with served(data_dir, engine=ENDLESS) as service, service.client() as client:
        push_run(client, run, tmp_path / "log")
        name = client.create_audit(make_request(run))
        events = client.watch_audit(name)
        while next(events)["kind"] != "progress":
            pass

    attempts = _attempts(data_dir)
    with job_service(data_dir) as jobs:
        row = jobs.wait(name.rpartition("/")[2])
        reports = jobs.host.catalogue.reports(DEFAULT_TENANT, log=None, after=None, limit=10)

    assert ActionState.LEASED not in {state for state, _ in attempts}
    assert {attempt for _, attempt in attempts} == {0}
    assert row.state is AuditState.SUCCEEDED
    assert len(reports) == 1


def test_a_finished_drain_leaves_results_cached(tmp_path: Path) -> None:
    run = make_stage_log()
    with job_service(tmp_path) as jobs:
        jobs.adopt(run)
        first = jobs.wait(jobs.jobs.submission.create(make_ask(make_request(run))).id)
        assert jobs.jobs.drain(grace_seconds=30)
    with job_service(tmp_path) as jobs:
        second = jobs.jobs.submission.create(make_ask(make_request(run)))
        again = jobs.wait(second.id)

    assert first.progress.cached == 0
    assert again.progress.cached == again.progress.actions
    assert again.compute_seconds == 0


def _attempts(data_dir: Path) -> list[tuple[ActionState, int]]:
    engine = open_engine(data_dir / "records.sqlite")
    with engine.connect() as connection:
        rows = connection.execute(select(action.c.state, action.c.attempt)).all()
    engine.dispose()
    return [(ActionState(state), attempt) for state, attempt in rows]
