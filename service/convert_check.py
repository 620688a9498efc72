"""Checks of logs to wire messages, and operations of every kind; pure."""

from google.longrunning import operations_pb2
from google.protobuf import any_pb2

from auditor.audit.log_verdict import LogVerdict
from service.convert import to_timestamp
from service.convert_audit import audit_outcome, to_audit_operation, to_progress, to_state
from service.names import member_name
from service.notices import Step
from service.pb.v1 import stage_log_pb2
from service.records.jobs import AuditRow
from service.scheduler.states import AuditState


def to_operation(row: AuditRow, *, step: Step | None = None) -> operations_pb2.Operation:
    """Return the operation that runs an audit or a check, with what is on the device for it."""
    if row.kind == "audit":
        return to_audit_operation(row)
    metadata = any_pb2.Any()
    metadata.Pack(
        stage_log_pb2.CheckStageLogMetadata(
            stage_log=member_name(row.tenant, "stageLogs", row.log_digest),
            state=to_state(row.state),
            progress=to_progress(row.progress, step=step),
            create_time=to_timestamp(row.created),
            update_time=to_timestamp(row.updated),
        )
    )
    operation = audit_outcome(row, metadata)
    if row.state is AuditState.SUCCEEDED:
        operation.response.Pack(_response(row))
    return operation


def _response(row: AuditRow) -> stage_log_pb2.CheckStageLogResponse:
    verdict = row.verdict or ""
    return stage_log_pb2.CheckStageLogResponse(
        stage_log=member_name(row.tenant, "stageLogs", row.log_digest),
        consistent=LogVerdict.model_validate_json(verdict).consistent is True,
        causes=row.causes,
        verdict_json=verdict,
    )
