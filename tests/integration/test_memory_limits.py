"""Short memory costs a split; an audit that no device holds is refused when it is planned."""

from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from auditor.attest.bundle import parse_bundle
from auditor.attest.statement import Statement
from auditor.audit.local import run_audit
from auditor.errors import ResourceError
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from service.executors.local import DEFAULT_ENGINE
from service.pb.v1 import audit_pb2, audit_service_pb2_grpc
from service.scheduler.states import AuditState
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.fake_engine import ENDLESS
from tests.support.job_service import job_service, make_ask, make_request, push_run
from tests.support.memory_index import MemoryIndex
from tests.support.narrow_engine import NARROW
from tests.support.served import served

STAGES = 4
TINY_BYTES = 1000


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=STAGES)


def values(data_dir: Path, run: RecordedRun, *, engine: str) -> tuple[list[float], float]:
    """Return the effects of an audit and how many groups were split for memory."""
    with job_service(data_dir, engine=engine) as service:
        service.adopt(run)
        row = service.wait(service.jobs.submission.create(make_ask(make_request(run))).id)
        assert row.state is AuditState.SUCCEEDED, row.error
        payload = parse_bundle(service.bundle(row)).payload
        splits = service.host.metrics.registry.get_sample_value(
            "stageaudit_oom_splits_total", {"kind": "evaluate"}
        )
    report = Report.model_validate(Statement.model_validate_json(payload).predicate)
    return [effect.known_value for effect in report.effects], splits or 0.0


def test_memory_that_runs_out_costs_a_split_and_no_figure(run: RecordedRun, tmp_path: Path) -> None:
    roomy, none = values(tmp_path / "roomy", run, engine=DEFAULT_ENGINE)
    narrow, splits = values(tmp_path / "narrow", run, engine=NARROW)

    assert narrow == pytest.approx(roomy, rel=1e-5)
    assert none == 0
    assert splits >= 1


def test_an_audit_that_no_device_holds_is_refused_when_it_is_planned(tmp_path: Path) -> None:
    run = make_stage_log(folder=tmp_path / "log")
    request = audit_pb2.CreateAuditRequest(
        parent="tenants/default", request_json=canonical_bytes(make_request(run)).decode()
    )
    with (
        served(tmp_path / "data", engine=ENDLESS, device_memory_bytes=TINY_BYTES) as service,
        service.client() as client,
        service.channel() as channel,
    ):
        push_run(client, run, tmp_path / "log")
        with pytest.raises(ResourceError) as planned:
            client.plan_audit(make_request(run))
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        with pytest.raises(grpc.RpcError) as created:
            stub.CreateAudit(request, metadata=service.metadata, timeout=30)
        rejected = service.reaches(
            'stageaudit_admission_rejections_total{reason="device_memory"}', 1.0
        )

    assert planned.value.retry_after_seconds is None
    assert "predicted for one lane" in planned.value.found
    status = rpc_status.from_call(created.value)
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert not any(d.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for d in status.details)
    assert rejected


def test_a_local_audit_that_does_not_fit_is_refused_before_it_starts(run: RecordedRun) -> None:
    index = MemoryIndex()

    with pytest.raises(ResourceError):
        run_audit(
            make_request(run), blobs=run.blobs, index=index, device="cpu", memory_bytes=TINY_BYTES
        )
