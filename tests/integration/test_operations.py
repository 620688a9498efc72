"""The audit and operations services over a real channel, as any gRPC client sees them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2, timestamp_pb2
from google.rpc import code_pb2

from auditor.stagelog.digest import canonical_bytes
from service.pb.v1 import audit_pb2, audit_service_pb2_grpc
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.fake_engine import ENDLESS
from tests.support.job_service import make_request, push_run
from tests.support.served import Served, served

PARENT = "tenants/default"
UNKNOWN = "0" * 26


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Stubs without our client in between; every audit on this service runs until cancelled."""

    service: Served
    run: RecordedRun
    audits: audit_service_pb2_grpc.AuditServiceStub
    operations: Any

    def create(self, name: str = "loss", **fields: Any) -> operations_pb2.Operation:
        request = audit_pb2.CreateAuditRequest(
            parent=PARENT,
            request_json=canonical_bytes(make_request(self.run, name=name)).decode(),
            **fields,
        )
        answer: operations_pb2.Operation = self.call(self.audits.CreateAudit, request)
        return answer

    def call(self, method: Any, request: Any) -> Any:
        return method(request, metadata=self.service.metadata, timeout=30)

    def code(self, method: Any, request: Any) -> grpc.StatusCode:
        """Return the code that a refused call ends with."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request)
        error = caught.value
        assert isinstance(error, grpc.Call)
        return error.code()


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    folder = tmp_path_factory.mktemp("operations")
    run = make_stage_log(folder=folder / "log")
    with served(folder / "data", engine=ENDLESS) as service, service.client() as client:
        push_run(client, run, folder / "log")
        with service.channel() as channel:
            yield Callers(
                service=service,
                run=run,
                audits=audit_service_pb2_grpc.AuditServiceStub(channel),
                operations=operations_pb2_grpc.OperationsStub(channel),
            )


@pytest.fixture
def operation(callers: Callers) -> Iterator[operations_pb2.Operation]:
    created = callers.create(name=f"loss {uuid.uuid4()}")
    yield created
    cancel = operations_pb2.CancelOperationRequest(name=created.name)
    callers.call(callers.operations.CancelOperation, cancel)


def audit_name(operation: operations_pb2.Operation) -> str:
    return operation.name.replace("operations", "audits")


def test_create_answers_an_operation_about_the_audit(
    operation: operations_pb2.Operation,
) -> None:
    metadata = audit_pb2.AuditOperationMetadata()

    assert operation.metadata.Unpack(metadata)
    assert metadata.audit == audit_name(operation)
    assert metadata.progress.actions > 0
    assert not operation.done


def test_create_with_one_request_id_makes_one_audit(callers: Callers) -> None:
    request_id = str(uuid.uuid4())

    names = {callers.create(request_id=request_id).name for _ in range(2)}

    assert len(names) == 1


def test_create_refuses_a_request_id_of_another_request(callers: Callers) -> None:
    request_id = str(uuid.uuid4())
    callers.create(name="one", request_id=request_id)
    other = audit_pb2.CreateAuditRequest(
        parent=PARENT,
        request_json=canonical_bytes(make_request(callers.run, name="two")).decode(),
        request_id=request_id,
    )

    code = callers.code(callers.audits.CreateAudit, other)

    assert code is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"log": "0" * 64}, grpc.StatusCode.NOT_FOUND),
        ({"model": "0" * 64}, grpc.StatusCode.NOT_FOUND),
        ({"confidence": 2.0}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"unheard_of": 1}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_create_refuses_what_cannot_be_answered(
    callers: Callers, change: dict[str, object], code: grpc.StatusCode
) -> None:
    plain = make_request(callers.run).model_dump(mode="json", by_alias=True, exclude_none=True)
    bad = audit_pb2.CreateAuditRequest(
        parent=PARENT, request_json=canonical_bytes(plain | change).decode()
    )

    assert callers.code(callers.audits.CreateAudit, bad) is code


def test_create_refuses_evaluation_data_that_was_not_sent(callers: Callers) -> None:
    request = make_request(callers.run)
    (query,) = request.queries
    other = request.model_copy(update={"queries": (query.model_copy(update={"data": "1" * 64}),)})
    bad = audit_pb2.CreateAuditRequest(parent=PARENT, request_json=canonical_bytes(other).decode())

    assert callers.code(callers.audits.CreateAudit, bad) is grpc.StatusCode.FAILED_PRECONDITION


def test_create_refuses_a_deadline_in_the_past(callers: Callers) -> None:
    bad = audit_pb2.CreateAuditRequest(
        parent=PARENT,
        request_json=canonical_bytes(make_request(callers.run)).decode(),
        deadline_time=timestamp_pb2.Timestamp(seconds=1),
    )

    assert callers.code(callers.audits.CreateAudit, bad) is grpc.StatusCode.INVALID_ARGUMENT


def test_plan_says_what_would_run_and_stores_nothing(callers: Callers) -> None:
    before = callers.call(
        callers.audits.ListAudits, audit_pb2.ListAuditsRequest(parent=PARENT, page_size=1000)
    )
    request = audit_pb2.PlanAuditRequest(
        parent=PARENT, request_json=canonical_bytes(make_request(callers.run)).decode()
    )

    plan = callers.call(callers.audits.PlanAudit, request)

    after = callers.call(
        callers.audits.ListAudits, audit_pb2.ListAuditsRequest(parent=PARENT, page_size=1000)
    )
    assert {action.kind for action in plan.actions} >= {"advance", "evaluate", "report"}
    assert plan.actions_to_run == len([a for a in plan.actions if not a.cached])
    assert plan.gradient_examples > 0
    assert len(after.audits) == len(before.audits)


def test_wait_returns_when_the_time_is_over(
    callers: Callers, operation: operations_pb2.Operation
) -> None:
    request = operations_pb2.WaitOperationRequest(
        name=operation.name, timeout=duration_pb2.Duration(nanos=1_000_000)
    )

    assert not callers.call(callers.operations.WaitOperation, request).done


def test_wait_returns_a_cancelled_operation_at_once(
    callers: Callers, operation: operations_pb2.Operation
) -> None:
    wait = operations_pb2.WaitOperationRequest(name=operation.name)
    waiting = callers.operations.WaitOperation.future(
        wait, metadata=callers.service.metadata, timeout=30
    )

    cancel = operations_pb2.CancelOperationRequest(name=operation.name)
    callers.call(callers.operations.CancelOperation, cancel)
    ended = waiting.result()

    assert ended.done
    assert ended.error.code == code_pb2.CANCELLED


def test_lists_continue_after_a_page(callers: Callers, operation: operations_pb2.Operation) -> None:
    second = callers.create(name=f"loss {uuid.uuid4()}")
    first_page = callers.call(
        callers.operations.ListOperations,
        operations_pb2.ListOperationsRequest(name=PARENT, page_size=1),
    )
    request = operations_pb2.ListOperationsRequest(
        name=PARENT, page_size=1, page_token=first_page.next_page_token
    )

    second_page = callers.call(callers.operations.ListOperations, request)

    assert [o.name for o in first_page.operations] == [second.name]
    assert [o.name for o in second_page.operations] == [operation.name]


def test_audits_of_another_log_are_not_listed(
    callers: Callers, operation: operations_pb2.Operation
) -> None:
    mine = audit_pb2.ListAuditsRequest(
        parent=PARENT, stage_log=f"{PARENT}/stageLogs/{callers.run.digest}"
    )
    others = audit_pb2.ListAuditsRequest(parent=PARENT, stage_log=f"{PARENT}/stageLogs/{'0' * 64}")

    assert audit_name(operation) in {
        audit.name for audit in callers.call(callers.audits.ListAudits, mine).audits
    }
    assert not callers.call(callers.audits.ListAudits, others).audits


def test_delete_refuses_a_live_audit_and_hides_a_finished_one(
    callers: Callers, operation: operations_pb2.Operation
) -> None:
    name = audit_name(operation)
    delete = audit_pb2.DeleteAuditRequest(name=name)
    refused = callers.code(callers.audits.DeleteAudit, delete)
    finished = callers.create(name=f"loss {uuid.uuid4()}")
    cancel = operations_pb2.CancelOperationRequest(name=finished.name)
    callers.call(callers.operations.CancelOperation, cancel)

    callers.call(
        callers.operations.DeleteOperation,
        operations_pb2.DeleteOperationRequest(name=finished.name),
    )

    get = audit_pb2.GetAuditRequest(name=audit_name(finished))
    assert refused is grpc.StatusCode.FAILED_PRECONDITION
    assert callers.code(callers.audits.GetAudit, get) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("tenant", ["default", "other"])
def test_what_is_not_there_and_what_is_anothers_are_not_found(
    callers: Callers, tenant: str
) -> None:
    get = audit_pb2.GetAuditRequest(name=f"tenants/{tenant}/audits/{UNKNOWN}")
    cancel = operations_pb2.CancelOperationRequest(name=f"tenants/{tenant}/operations/{UNKNOWN}")

    assert callers.code(callers.audits.GetAudit, get) is grpc.StatusCode.NOT_FOUND
    assert callers.code(callers.operations.CancelOperation, cancel) is grpc.StatusCode.NOT_FOUND


def test_a_filter_of_operations_is_refused_by_name(callers: Callers) -> None:
    request = operations_pb2.ListOperationsRequest(name=PARENT, filter="done = true")

    code = callers.code(callers.operations.ListOperations, request)

    assert code is grpc.StatusCode.UNIMPLEMENTED
