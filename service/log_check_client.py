"""Checks of stored logs, from the client's side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from google.longrunning import operations_pb2
from google.protobuf import duration_pb2

from auditor.audit.log_verdict import LogVerdict
from auditor.errors import InternalError, UnavailableError
from auditor.stagelog.digest import Digest
from service.channel import Connection
from service.names import member_name
from service.pb.v1 import stage_log_pb2
from service.status import CODE_BY_NUMBER, error_of

POLL_MILLISECONDS = 500
CALL_SECONDS = 60.0
LOST_CALLS = 10
"""So many calls in a row may meet a service that restarts."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckStep:
    """Where a check stands; ``verdict`` once it is over."""

    done: int
    total: int
    verdict: LogVerdict | None


def start_check(
    connection: Connection,
    log: Digest,
    *,
    tenant: str,
    sample: float | None,
    seed: int,
    request_id: str,
) -> str:
    """Ask for a check and return the name of its operation."""
    request = stage_log_pb2.CheckStageLogRequest(
        name=member_name(tenant, "stageLogs", log), sample=sample, seed=seed, request_id=request_id
    )
    service = connection.stage_logs
    operation = connection.call(service.CheckStageLog, request, seconds=CALL_SECONDS)
    return str(operation.name)


def follow_check(connection: Connection, name: str) -> Iterator[CheckStep]:
    """Yield where a check stands until it is over; a service that restarts is waited for.

    Args:
        connection: The service.
        name: The operation.

    Yields:
        Replayed stages and all stages; the last one has the verdict.

    Raises:
        AuditorError: The error that the check ended with.
    """
    wait = operations_pb2.WaitOperationRequest(
        name=name, timeout=duration_pb2.Duration(nanos=POLL_MILLISECONDS * 1_000_000)
    )
    failures = 0
    while True:
        try:
            method = connection.operations.WaitOperation
            operation = connection.once(method, wait, seconds=CALL_SECONDS)
        except UnavailableError:
            failures += 1
            if failures >= LOST_CALLS:
                raise
            connection.pause(min(0.2 * 2**failures, 5.0))
            continue
        failures = 0
        step = _step(operation)
        yield step
        if step.verdict is not None:
            return


def _step(operation: operations_pb2.Operation) -> CheckStep:
    metadata = stage_log_pb2.CheckStageLogMetadata()
    operation.metadata.Unpack(metadata)
    verdict: LogVerdict | None = None
    if operation.HasField("error"):
        error = operation.error
        raise error_of(error, code=CODE_BY_NUMBER[error.code], text=error.message)
    if operation.done:
        response = stage_log_pb2.CheckStageLogResponse()
        if not operation.response.Unpack(response):
            raise InternalError(
                operation.name,
                expected="the operation of a check",
                found=operation.response.type_url,
                remedy="Use the name that `stageaudit log check --server` printed.",
            )
        verdict = LogVerdict.model_validate_json(response.verdict_json)
    progress = metadata.progress
    return CheckStep(done=progress.done, total=progress.actions, verdict=verdict)
