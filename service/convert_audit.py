"""Audits to wire messages; pure."""

from collections.abc import Iterable

from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

from service.convert import to_timestamp
from service.failures import error_of
from service.names import member_name
from service.notices import Step
from service.pb.v1 import audit_pb2
from service.records.jobs import AuditRow, EventRow, Progress
from service.scheduler.states import LIVE_AUDITS, AuditState
from service.scheduler.time_left import TimeLeft
from service.status import status_of
from service.submission import DryPlan

NORMAL_PRIORITY = 1

_STATES: dict[AuditState, audit_pb2.AuditState.ValueType] = {
    AuditState.PLANNED: audit_pb2.AUDIT_STATE_PLANNED,
    AuditState.RUNNING: audit_pb2.AUDIT_STATE_RUNNING,
    AuditState.SIGNING: audit_pb2.AUDIT_STATE_SIGNING,
    AuditState.SUCCEEDED: audit_pb2.AUDIT_STATE_SUCCEEDED,
    AuditState.FAILED: audit_pb2.AUDIT_STATE_FAILED,
    AuditState.CANCELLED: audit_pb2.AUDIT_STATE_CANCELLED,
}
_PRIORITIES: dict[audit_pb2.AuditPriority.ValueType, int] = {
    audit_pb2.AUDIT_PRIORITY_BATCH: 0,
    audit_pb2.AUDIT_PRIORITY_NORMAL: NORMAL_PRIORITY,
    audit_pb2.AUDIT_PRIORITY_GATE: 2,
}


def from_priority(value: audit_pb2.AuditPriority.ValueType) -> int:
    """Return the level of a priority; one that was not said, or is not known, is normal."""
    return _PRIORITIES.get(value, NORMAL_PRIORITY)


def to_priority(level: int) -> audit_pb2.AuditPriority.ValueType:
    """Return a level as its message."""
    return next(value for value, known in _PRIORITIES.items() if known == level)


def to_audit(
    row: AuditRow, *, step: Step | None = None, left: TimeLeft | None = None
) -> audit_pb2.Audit:
    """Return an audit as its message, with what is on the device for it now."""
    message = audit_pb2.Audit(
        name=member_name(row.tenant, "audits", row.id),
        state=_STATES[row.state],
        request_digest=row.request_digest,
        stage_log=member_name(row.tenant, "stageLogs", row.log_digest),
        priority=to_priority(row.priority),
        progress=to_progress(row.progress, step=step, left=left),
        create_time=to_timestamp(row.created),
        update_time=to_timestamp(row.updated),
        deadline_time=to_timestamp(row.deadline),
        compute_seconds=row.compute_seconds,
    )
    if row.model_digest is not None:
        message.model = member_name(row.tenant, "models", row.model_digest)
    if row.report_digest is not None:
        message.report = member_name(row.tenant, "reports", row.report_digest)
    if row.error is not None:
        message.error.CopyFrom(status_of(error_of(row.error), request_id=row.id))
    if row.finished is not None:
        message.finish_time.CopyFrom(to_timestamp(row.finished))
    return message


def to_progress(
    progress: Progress, *, step: Step | None = None, left: TimeLeft | None = None
) -> audit_pb2.AuditProgress:
    """Return the progress of an audit as its message."""
    message = audit_pb2.AuditProgress(
        actions=progress.actions,
        cached=progress.cached,
        done=progress.done,
        running=progress.running,
        fraction=progress.done / progress.actions if progress.actions else 0.0,
    )
    if step is not None:
        message.current_kind = step.kind
        message.current_step = step.done
        message.current_steps = step.total
    if left is not None:
        message.seconds_left = left.seconds
        message.seconds_left_at_least = left.at_least
    return message


def to_state(state: AuditState) -> audit_pb2.AuditState.ValueType:
    """Return a state as its message."""
    return _STATES[state]


def to_audit_operation(row: AuditRow) -> operations_pb2.Operation:
    """Return the operation that runs an audit."""
    metadata = _packed(
        audit_pb2.AuditOperationMetadata(
            audit=member_name(row.tenant, "audits", row.id),
            state=_STATES[row.state],
            progress=to_progress(row.progress),
            create_time=to_timestamp(row.created),
            update_time=to_timestamp(row.updated),
        )
    )
    operation = audit_outcome(row, metadata)
    if row.state is AuditState.SUCCEEDED:
        operation.response.CopyFrom(_packed(to_audit(row)))
    return operation


def audit_outcome(row: AuditRow, metadata: any_pb2.Any) -> operations_pb2.Operation:
    """Return the operation of a row, without the response of one that succeeded."""
    operation = operations_pb2.Operation(
        name=member_name(row.tenant, "operations", row.id),
        metadata=metadata,
        done=row.state not in LIVE_AUDITS,
    )
    if row.state is AuditState.CANCELLED:
        operation.error.CopyFrom(status_pb2.Status(code=code_pb2.CANCELLED, message="cancelled"))
    elif row.error is not None:
        operation.error.CopyFrom(status_of(error_of(row.error), request_id=row.id))
    return operation


def to_event(event: EventRow, *, left: TimeLeft | None = None) -> audit_pb2.WatchAuditResponse:
    """Return a stored event as its message; the time left is that of now."""
    return audit_pb2.WatchAuditResponse(
        sequence=event.sequence,
        event_time=to_timestamp(event.created),
        kind=event.kind,
        state=_STATES[event.state],
        progress=to_progress(event.progress, left=left),
        action_key=event.action_key,
        action_kind=event.action_kind,
        message=event.message,
    )


def to_step_event(
    row: AuditRow, step: Step, *, sequence: int, now: float, left: TimeLeft | None = None
) -> audit_pb2.WatchAuditResponse:
    """Return what is on the device now as an event; it has the sequence of the one before."""
    lanes = f"{step.lanes} × {step.kind}" if step.lanes > 1 else step.kind
    steps = f": step {step.done} of {step.total}" if step.total else ""
    return audit_pb2.WatchAuditResponse(
        sequence=sequence,
        event_time=to_timestamp(now),
        kind="progress",
        state=_STATES[row.state],
        progress=to_progress(row.progress, step=step, left=left),
        action_kind=step.kind,
        message=lanes + steps,
    )


def to_plan(plan: DryPlan) -> audit_pb2.PlanAuditResponse:
    """Return a dry run as its message."""
    actions = [
        audit_pb2.PlannedAction(
            key=dry.action.key,
            kind=dry.action.kind,
            cached=dry.cached,
            needs=dry.action.needs,
            gradient_examples=dry.gradient_examples,
            predicted_bytes=dry.action.fixed_bytes + dry.action.lane_bytes,
        )
        for dry in plan.actions
    ]
    to_run = [action for action in actions if not action.cached]
    return audit_pb2.PlanAuditResponse(
        request_digest=plan.request_digest,
        actions=actions,
        actions_to_run=len(to_run),
        gradient_examples=_total(to_run),
        retraining_relative=plan.forecast.relative,
        queries=[
            audit_pb2.QueryForecast(
                query=found.query,
                unit=found.unit,
                detectable_effect=found.detectable,
                basis=found.basis,
                note=found.note,
            )
            for found in plan.forecast.queries
        ],
        memory=audit_pb2.PredictedMemory(
            lane_bytes=plan.memory.lane_bytes,
            group_bytes=plan.memory.group_bytes,
            group_lanes=plan.memory.group_lanes,
            budget_bytes=plan.memory.budget_bytes,
        ),
    )


def _total(actions: Iterable[audit_pb2.PlannedAction]) -> int:
    return sum(action.gradient_examples for action in actions)


def _packed(
    message: audit_pb2.Audit | audit_pb2.AuditOperationMetadata,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
