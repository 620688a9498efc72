"""A server that is killed right after it accepted audits."""

import uuid
from pathlib import Path

from tests.support.builders import make_stage_log
from tests.support.job_service import make_request, push_run
from tests.support.server_process import server_process


def test_accepted_audits_survive_sigkill_and_watching_resumes(tmp_path: Path) -> None:
    data_dir, log_folder = tmp_path / "data", tmp_path / "log"
    run = make_stage_log(folder=log_folder)
    request, request_id = make_request(run), str(uuid.uuid4())
    with server_process(data_dir) as server, server.client() as client:
        push_run(client, run, log_folder)
        name = client.create_audit(request, request_id=request_id)
        seen = next(client.watch_audit(name))["sequence"]
        server.kill()

    with server_process(data_dir) as server, server.client() as client:
        again = client.create_audit(request, request_id=request_id)
        rest = [event["sequence"] for event in client.watch_audit(name, after_sequence=seen)]
        audit = client.get_audit(name)
        reports = client.list_reports()

    durable = sorted(set(rest) - {seen})
    assert again == name
    assert audit["state"] == "succeeded"
    assert durable == list(range(seen + 1, durable[-1] + 1))
    assert [report["audit"] for report in reports] == [name]
    assert audit["compute_seconds"] > 0
