"""An audit whose worker runs beside an actor of a Ray cluster that the server started."""

import os
from pathlib import Path

import pytest

from auditor.attest.bundle import parse_bundle
from auditor.attest.statement import Statement
from tests.support.builders import make_stage_log
from tests.support.job_service import job_service, make_ask, make_request, push_run
from tests.support.server_process import ended, kill_process, parent_of, server_process

RTOL = 1e-5
ON_RAY = ("--executor", "ray", "--ray-workers", "1")


def figures(bundle: bytes) -> list[float | None]:
    """Return every figure that an audit reports."""
    report = Statement.model_validate_json(parse_bundle(bundle).payload).predicate
    return [*(e.value for e in report.effects), *(q.value for q in report.queries)]


@pytest.mark.slow
def test_an_audit_on_ray_ends_as_a_local_one_although_its_actor_is_killed(tmp_path: Path) -> None:
    log_folder = tmp_path / "log"
    run = make_stage_log(folder=log_folder)
    request = make_request(run)
    with job_service(tmp_path / "local") as service:
        service.adopt(run)
        row = service.wait(service.jobs.submission.create(make_ask(request)).id)
        expected = figures(service.bundle(row))

    with server_process(tmp_path / "data", *ON_RAY) as server, server.client() as client:
        push_run(client, run, log_folder)
        name = client.create_audit(request)
        (worker,) = server.worker_pids()
        killed = kill_process(parent_of(worker))
        audit = client.wait(name)
        found = figures(client.get_report(audit["report"]))
        left = [os.pidfd_open(pid) for pid in server.descendants()]
        status = server.terminate()

    assert killed
    assert audit["state"] == "succeeded"
    assert found == pytest.approx(expected, rel=RTOL, abs=1e-12)
    assert status == 0  # drained, which takes longer than the 3 s that Ray would give it
    assert len(left) > 2
    for descriptor in left:
        assert ended(descriptor)


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_process_of_its_cluster(tmp_path: Path) -> None:
    with server_process(tmp_path / "data", *ON_RAY) as server:
        left = [os.pidfd_open(pid) for pid in server.descendants()]

        server.kill()

        assert len(left) > 2
        for descriptor in left:
            assert ended(descriptor)
