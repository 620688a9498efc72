"""Errors on the wire: one table from error classes to gRPC codes, and the way back.

Every status carries an ErrorInfo of domain ``stageaudit.dev`` whose metadata hold what the error
says (where, expected, found, remedy), so that a client raises the same error again. The packed
status stays below 4 KiB: it travels as a header, and headers above 8 KiB are dropped.
"""

from collections.abc import Iterator, Mapping

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from auditor import errors as base
from auditor.errors import AuditorError, ResourceError, UnavailableError
from service import errors as own
from service import failures as jobs
from service.errors import MissingBlobsError, OffsetError

DOMAIN = "stageaudit.dev"
STATUS_LIMIT_BYTES = 4096
MISSING_LIMIT = 20
RETRY_SECONDS = 1.0
INTERNAL_TEXT = "internal error"

_TEXT_BYTES = 384
_MESSAGE_BYTES = 640

CODES: Mapping[type[AuditorError], grpc.StatusCode] = {
    base.AuditorError: grpc.StatusCode.INTERNAL,
    base.InputError: grpc.StatusCode.INVALID_ARGUMENT,
    base.StageLogError: grpc.StatusCode.INVALID_ARGUMENT,
    base.ShapeError: grpc.StatusCode.INVALID_ARGUMENT,
    base.DomainError: grpc.StatusCode.INVALID_ARGUMENT,
    base.QueryError: grpc.StatusCode.INVALID_ARGUMENT,
    base.PolicyError: grpc.StatusCode.INVALID_ARGUMENT,
    base.BaselineError: grpc.StatusCode.INVALID_ARGUMENT,
    base.ArtifactError: grpc.StatusCode.DATA_LOSS,
    base.ArtifactMissingError: grpc.StatusCode.NOT_FOUND,
    base.ArtifactDigestError: grpc.StatusCode.DATA_LOSS,
    base.PreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    base.ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    base.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    base.NumericalError: grpc.StatusCode.FAILED_PRECONDITION,
    base.ResourceError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    base.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    base.AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    base.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    base.VerificationError: grpc.StatusCode.INVALID_ARGUMENT,
    base.DocumentRefusedError: grpc.StatusCode.INVALID_ARGUMENT,
    base.SignatureError: grpc.StatusCode.INVALID_ARGUMENT,
    base.BackdatedError: grpc.StatusCode.INVALID_ARGUMENT,
    base.SubjectError: grpc.StatusCode.INVALID_ARGUMENT,
    base.ReviewError: grpc.StatusCode.INVALID_ARGUMENT,
    base.UndecidedError: grpc.StatusCode.INVALID_ARGUMENT,
    base.InternalError: grpc.StatusCode.INTERNAL,
    own.OffsetError: grpc.StatusCode.OUT_OF_RANGE,
    own.MissingBlobsError: grpc.StatusCode.FAILED_PRECONDITION,
    own.RequestIdReusedError: grpc.StatusCode.ALREADY_EXISTS,
    own.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    own.QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    own.TenantQueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    own.LeaseLostError: grpc.StatusCode.ABORTED,
    jobs.WorkerLostError: grpc.StatusCode.UNAVAILABLE,
    jobs.PoisonError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    jobs.AuditDeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""One row for every class; a test fails on an error without one."""

CODE_BY_NUMBER: Mapping[int, grpc.StatusCode] = {int(c.value[0]): c for c in grpc.StatusCode}

# Errors whose constructor is that of AuditorError, by their stable code.
_PLAIN: Mapping[str, type[AuditorError]] = {
    error.code: error for error in CODES if error.__init__ is AuditorError.__init__
}
# What a client raises for statuses that another program on the way made.
_FOREIGN: Mapping[grpc.StatusCode, type[AuditorError]] = {
    grpc.StatusCode.UNAUTHENTICATED: base.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: base.PermissionDeniedError,
    grpc.StatusCode.UNIMPLEMENTED: base.UnsupportedError,
    grpc.StatusCode.NOT_FOUND: base.ArtifactMissingError,
    grpc.StatusCode.INVALID_ARGUMENT: base.InputError,
    grpc.StatusCode.OUT_OF_RANGE: base.InputError,
    grpc.StatusCode.FAILED_PRECONDITION: base.PreconditionError,
    grpc.StatusCode.ALREADY_EXISTS: base.ConflictError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: base.ResourceError,
    grpc.StatusCode.DEADLINE_EXCEEDED: base.ResourceError,
    grpc.StatusCode.UNAVAILABLE: base.UnavailableError,
    grpc.StatusCode.DATA_LOSS: base.ArtifactDigestError,
}


def code_of(error: AuditorError) -> grpc.StatusCode:
    """Return the code of the error's class."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def status_of(error: AuditorError, *, request_id: str = "") -> status_pb2.Status:
    """Describe an error for the wire.

    Args:
        error: What was raised.
        request_id: The call it ended; with it an operator finds the log's line.

    Returns:
        A status below :data:`STATUS_LIMIT_BYTES`. Of an internal error only the request id.
    """
    code = code_of(error)
    number: int = code.value[0]
    if code is grpc.StatusCode.INTERNAL:
        return internal_status(request_id)
    status = status_pb2.Status(code=number, message=_cut(str(error), limit=_MESSAGE_BYTES))
    for detail in (_error_info(error, request_id=request_id), *_details(error)):
        status.details.append(_packed(detail))
        if status.ByteSize() >= STATUS_LIMIT_BYTES:
            del status.details[-1]
    return status


def internal_status(request_id: str) -> status_pb2.Status:
    """Describe a failure of ours without telling what it was."""
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"request_id": request_id}
    )
    number: int = grpc.StatusCode.INTERNAL.value[0]
    return status_pb2.Status(code=number, message=INTERNAL_TEXT, details=[_packed(info)])


def error_of(status: status_pb2.Status | None, *, code: grpc.StatusCode, text: str) -> AuditorError:
    """Return the error that a status tells of.

    Args:
        status: The rich status, or None when the answer had none.
        code: The plain code.
        text: The plain message.

    Returns:
        The error that was raised on the other side, as far as the status tells it.
    """
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            detail.Unpack(retry)
    if info.domain != DOMAIN or "where" not in info.metadata:
        return _foreign(code, text=text, request_id=info.metadata.get("request_id", ""))
    told = {name: info.metadata.get(name, "") for name in ("expected", "found", "remedy")}
    where = info.metadata["where"]
    if info.reason == OffsetError.code:
        return OffsetError(
            where,
            committed_size=int(info.metadata["committed_size"]),
            offset=int(info.metadata["offset"]),
        )
    kind = _PLAIN.get(info.reason) or _FOREIGN.get(code, base.InternalError)
    if kind is ResourceError:
        wait = retry.retry_delay.ToMilliseconds() / 1000
        error: AuditorError = ResourceError(where, **told, retry_after_seconds=wait or None)
    else:
        error = kind(where, **told)
    error.code = info.reason
    return error


def _error_info(error: AuditorError, *, request_id: str) -> error_details_pb2.ErrorInfo:
    metadata = {
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
        "request_id": request_id,
    }
    if isinstance(error, OffsetError):
        metadata |= {"committed_size": str(error.committed_size), "offset": error.found}
    return error_details_pb2.ErrorInfo(
        reason=error.code,
        domain=DOMAIN,
        metadata={key: _cut(value, limit=_TEXT_BYTES) for key, value in metadata.items() if value},
    )


def _details(error: AuditorError) -> Iterator[Message]:
    """Yield what generic clients understand of the error."""
    described = _cut(f"expected {error.expected}, found {error.found}", limit=_TEXT_BYTES)
    subject = _cut(error.where, limit=_TEXT_BYTES)
    match code_of(error):
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=subject, description=described
            )
            yield error_details_pb2.BadRequest(field_violations=[violation])
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.ALREADY_EXISTS | grpc.StatusCode.DATA_LOSS:
            yield error_details_pb2.ResourceInfo(resource_name=subject, description=described)
        case grpc.StatusCode.FAILED_PRECONDITION:
            yield error_details_pb2.PreconditionFailure(
                violations=list(_violations(error, subject=subject, described=described))
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            quota = error_details_pb2.QuotaFailure.Violation(subject=subject, description=described)
            yield error_details_pb2.QuotaFailure(violations=[quota])
            if isinstance(error, ResourceError) and error.retry_after_seconds is not None:
                yield _retry(error.retry_after_seconds)
        case grpc.StatusCode.UNAVAILABLE:
            yield _retry(RETRY_SECONDS)
        case _:
            return


def _violations(
    error: AuditorError, *, subject: str, described: str
) -> Iterator[error_details_pb2.PreconditionFailure.Violation]:
    if isinstance(error, MissingBlobsError):
        for digest in error.digests[:MISSING_LIMIT]:
            yield error_details_pb2.PreconditionFailure.Violation(type="MISSING", subject=digest)
    else:
        yield error_details_pb2.PreconditionFailure.Violation(
            type=error.code, subject=subject, description=described
        )


def _retry(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _foreign(code: grpc.StatusCode, *, text: str, request_id: str) -> AuditorError:
    kind = _FOREIGN.get(code, base.InternalError)
    error = kind(
        f"request {request_id}" if request_id else "service",
        expected="an answer",
        found=f"{code.name}: {text}",
        remedy=_remedy(kind),
    )
    error.code = kind.code
    return error


def _remedy(kind: type[AuditorError]) -> str:
    if kind is UnavailableError:
        return "Check that the service runs and that the address is right, then try again."
    if kind is base.InternalError:
        return "Tell the operator the request id; the service's log has the details."
    if kind is base.AuthenticationError:
        return "Pass the token of the service's data folder."
    return "Read the message; check that client and service have the same version."


def _packed(message: Message) -> any_pb2.Any:
    detail = any_pb2.Any()
    detail.Pack(message)
    return detail


def _cut(text: str, *, limit: int) -> str:
    data = text.encode("utf-8", errors="replace")
    return text if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"
