"""A connection to the service: credentials, retries, and errors raised as what they were."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, final

import grpc
from google.longrunning import operations_pb2_grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from auditor.errors import AuditorError, ResourceError, UnavailableError
from service.pb.v1.admin_service_pb2_grpc import AdminServiceStub
from service.pb.v1.audit_service_pb2_grpc import AuditServiceStub
from service.pb.v1.blob_service_pb2_grpc import BlobServiceStub
from service.pb.v1.model_service_pb2_grpc import ModelServiceStub
from service.pb.v1.policy_service_pb2_grpc import PolicyServiceStub
from service.pb.v1.report_service_pb2_grpc import ReportServiceStub
from service.pb.v1.stage_log_service_pb2_grpc import StageLogServiceStub
from service.status import error_of

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
MESSAGE_BYTES = 4 * 2**20

Request = TypeVar("Request")
Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)
Request_contra = TypeVar("Request_contra", contravariant=True)


class Method(Protocol[Request_contra, Response_co]):
    """A method of a stub with one answer."""

    def __call__(
        self,
        request: Request_contra,
        /,
        *,
        timeout: float | None,
        metadata: Any,  # noqa: ANN401
    ) -> Response_co:
        """Call the method."""


class StreamMethod(Protocol[Request_contra, Response_co]):
    """A method of a stub with a stream of answers."""

    def __call__(
        self,
        request: Request_contra,
        /,
        *,
        timeout: float | None,
        metadata: Any,  # noqa: ANN401
    ) -> Iterable[Response_co]:
        """Call the method."""


@final
class Connection:
    """Stubs of every service over one channel; thread-safe.

    Args:
        address: ``host:port``.
        token: The bearer token, or None.
    """

    def __init__(self, address: str, *, token: str | None) -> None:
        self._address = address
        self._metadata: tuple[tuple[str, str], ...] = (
            () if token is None else (("authorization", f"Bearer {token}"),)
        )
        self._closed = threading.Event()
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                # The service is on loopback; a proxy of the environment cannot reach it.
                ("grpc.enable_http_proxy", 0),
                # Retries are ours: they honour RetryInfo and resume uploads.
                ("grpc.enable_retries", 0),
            ],
        )
        self.blobs = BlobServiceStub(self._channel)
        self.stage_logs = StageLogServiceStub(self._channel)
        self.models = ModelServiceStub(self._channel)
        self.audits = AuditServiceStub(self._channel)
        self.reports = ReportServiceStub(self._channel)
        self.policies = PolicyServiceStub(self._channel)
        self.admin = AdminServiceStub(self._channel)
        self.operations: Any = operations_pb2_grpc.OperationsStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and the connection."""
        self._closed.set()
        self._channel.close()

    def call(
        self, method: Method[Request, Response], request: Request, *, seconds: float = 60
    ) -> Response:
        """Return the answer to a request that may be repeated.

        Args:
            method: A method of a stub with one answer.
            request: Its request; a Create carries a request id.
            seconds: Time for each attempt.

        Returns:
            The answer.

        Raises:
            AuditorError: The error that the service raised.
        """
        return self.retry(lambda: self.once(method, request, seconds=seconds))

    def once(
        self, method: Method[Request, Response], request: Request, *, seconds: float | None
    ) -> Response:
        """Return the answer to a request that is sent once.

        Raises:
            AuditorError: The error that the service raised.
        """
        try:
            return method(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def stream(
        self, method: StreamMethod[Request, Response], request: Request, *, seconds: float | None
    ) -> Iterator[Response]:
        """Yield the answers to a request, which is sent once.

        Yields:
            The answers as they come.

        Raises:
            AuditorError: The error that the service raised.
        """
        answers = method(request, timeout=seconds, metadata=self._metadata)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise self._translated(error) from error
        finally:
            cancel: Callable[[], object] = answers.cancel  # type: ignore[attr-defined]  # a call
            cancel()

    def retry(self, attempt: Callable[[], Response]) -> Response:
        """Return what ``attempt`` returns, repeated while the service says that waiting helps.

        Raises:
            AuditorError: The last error.
        """
        wait = FIRST_WAIT_SECONDS
        for _ in range(ATTEMPTS - 1):
            try:
                return attempt()
            except AuditorError as error:
                asked = _retry_after(error)
                if asked is None:
                    raise
                self.pause(max(asked, wait * random.uniform(0.5, 1.5)))  # noqa: S311 - jitter
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        return attempt()

    def pause(self, seconds: float) -> None:
        """Wait, or return at once when the connection is closed."""
        self._closed.wait(min(seconds, LONGEST_WAIT_SECONDS))

    def _translated(self, error: grpc.RpcError) -> AuditorError:
        """Return the error that the service raised, as far as the answer tells it."""
        call: Any = error  # every error of a stub is the call as well
        try:
            status: status_pb2.Status | None = rpc_status.from_call(call)
        except ValueError:  # the core replaced the message
            status = None
        code: grpc.StatusCode = call.code()
        text = str(call.details() or "")
        if code is grpc.StatusCode.UNAVAILABLE and status is None:
            return UnavailableError(
                f"service at {self._address}",
                expected="an answer",
                found=text,
                remedy="Start it with `stageaudit serve`, or check --server.",
            )
        return error_of(status, code=code, text=text)


def _retry_after(error: AuditorError) -> float | None:
    """Return how long to wait before the next attempt, or None when waiting does not help."""
    match error:
        case UnavailableError():
            return 0.0
        case ResourceError(retry_after_seconds=seconds):
            return seconds
        case _:
            return None
