"""What happens around every call: request id, metrics, errors, identity, deadline."""

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, cast, final

import grpc
import structlog
from google.rpc import status_pb2
from grpc_status import rpc_status
from typing_extensions import override

from auditor.edge.clock import Clock
from auditor.errors import AuditorError, AuthenticationError
from service.auth import PUBLIC_METHODS, Caller, TokenAuthority, set_caller
from service.config import Limits
from service.errors import DeadlineError
from service.metrics import Metrics
from service.records.base import DEFAULT_TENANT
from service.status import CODE_BY_NUMBER, code_of, internal_status, status_of

REQUEST_ID_KEY = "x-request-id"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
FoundHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Around = Callable[["Call", Context], AbstractAsyncContextManager[None]]

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call, as far as it is known before its messages are read."""

    method: str
    labels: tuple[str, str, str]  # type, service, method, as the metrics name them
    request_id: str
    streams: bool


@final
class Edge(grpc.aio.ServerInterceptor):
    """The interceptor of the service: one, so that the order of its parts is plain.

    Args:
        authority: Says who calls.
        metrics: Counts.
        limits: Bounds the time of a call.
        clock: Measures it.
    """

    def __init__(
        self, *, authority: TokenAuthority, metrics: Metrics, limits: Limits, clock: Clock
    ) -> None:
        self._authority = authority
        self._metrics = metrics
        self._limits = limits
        self._clock = clock

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[FoundHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> FoundHandler:
        """Wrap the method's behaviour; an unknown method has no handler and is UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        kind = _kind(handler)
        service, _, name = handler_call_details.method.removeprefix("/").rpartition("/")

        def make(context: Context) -> Call:
            return Call(
                method=handler_call_details.method,
                labels=(kind, service, name),
                request_id=_request_id(context),
                streams=handler.request_streaming or handler.response_streaming,
            )

        return _rebuild(handler, kind=kind, make=make, around=self._around, metrics=self._metrics)

    @asynccontextmanager
    async def _around(self, call: Call, context: Context) -> AsyncIterator[None]:
        context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
        async with self._measured(call, context), self._mapped(call, context):
            self._identify(call, context)
            async with self._bounded(call, context):
                yield

    @asynccontextmanager
    async def _measured(self, call: Call, context: Context) -> AsyncIterator[None]:
        self._metrics.rpc_started.labels(*call.labels).inc()
        started = self._clock.monotonic()
        cancelled = False
        try:
            yield
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            code = _final_code(context, cancelled=cancelled)
            self._metrics.rpc_handled.labels(*call.labels, code.name).inc()
            self._metrics.rpc_seconds.labels(*call.labels).observe(
                self._clock.monotonic() - started
            )

    @asynccontextmanager
    async def _mapped(self, call: Call, context: Context) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.AbortError:  # already told to the client; an Exception like any other
            raise
        except AuditorError as error:
            if isinstance(error, AuthenticationError):
                self._metrics.auth_failures.labels(reason=error.found).inc()
            if code_of(error) is grpc.StatusCode.INTERNAL:
                _log.exception("call failed", method=call.method, request_id=call.request_id)
            await _abort(context, status_of(error, request_id=call.request_id))
        except Exception:  # noqa: BLE001 - what nobody foresaw must not reach the client
            _log.exception("call failed", method=call.method, request_id=call.request_id)
            await _abort(context, internal_status(call.request_id))

    def _identify(self, call: Call, context: Context) -> None:
        if call.method.startswith(PUBLIC_METHODS):
            set_caller(Caller(tenant=DEFAULT_TENANT, principal="probe", request_id=call.request_id))
            return
        metadata = context.invocation_metadata() or ()
        set_caller(
            self._authority.authenticate(
                ((str(key), value) for key, value in metadata), request_id=call.request_id
            )
        )

    @asynccontextmanager
    async def _bounded(self, call: Call, context: Context) -> AsyncIterator[None]:
        """End calls without a deadline after the usual time, and no call after the longest."""
        left = cast("float | None", context.time_remaining())
        if call.streams:
            seconds = self._limits.stream_seconds_max
        elif left is None:
            seconds = self._limits.call_seconds
        else:
            seconds = self._limits.call_seconds_max
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise DeadlineError(call.method, seconds=seconds) from error


async def _abort(context: Context, described: status_pb2.Status) -> NoReturn:
    status = rpc_status.to_status(described)
    await context.abort(status.code, status.details, status.trailing_metadata)


def _kind(handler: Handler) -> str:
    request = "stream" if handler.request_streaming else "unary"
    response = "stream" if handler.response_streaming else "unary"
    return f"{request}_{response}"


def _request_id(context: Context) -> str:
    """Return the caller's id for the request when it is short and plain, else a new one."""
    for key, value in context.invocation_metadata() or ():
        text = value if isinstance(value, str) else ""
        if key == REQUEST_ID_KEY and 0 < len(text) <= 64 and text.replace("-", "").isalnum():
            return text
    return str(uuid.uuid4())


def _final_code(context: Context, *, cancelled: bool) -> grpc.StatusCode:
    # The stubs promise a StatusCode; the core keeps its number once a call has ended.
    code = cast("grpc.StatusCode | int | None", context.code())
    if code is not None:
        return CODE_BY_NUMBER[code if isinstance(code, int) else code.value[0]]
    if not cancelled:
        return grpc.StatusCode.OK
    left = cast("float | None", context.time_remaining())
    expired = left is not None and left <= 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


def _rebuild(
    handler: Handler,
    *,
    kind: str,
    make: Callable[[Context], Call],
    around: Around,
    metrics: Metrics,
) -> Handler:
    """Return a handler of the same kind whose behaviour runs inside ``around``."""
    inner = getattr(handler, kind)

    async def single(request: Any, context: Context) -> Any:  # noqa: ANN401 - any message
        call = make(context)
        async with around(call, context):
            response = await inner(_counted(request, call, metrics), context)
            metrics.rpc_messages_sent.labels(*call.labels).inc()
            return response

    async def several(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
        call = make(context)
        async with around(call, context):
            sent = metrics.rpc_messages_sent.labels(*call.labels)
            counted = _counted(request, call, metrics)
            if inspect.isasyncgenfunction(inner):
                async for response in inner(counted, context):
                    sent.inc()
                    yield response
            else:  # writes its answers through the context, as grpc_health does
                await inner(counted, context)

    make_handler = getattr(grpc, f"{kind}_rpc_method_handler")
    rebuilt: Handler = make_handler(
        several if handler.response_streaming else single,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return rebuilt


def _counted(request: Any, call: Call, metrics: Metrics) -> Any:  # noqa: ANN401 - any message
    """Count received messages: one, or those of a stream as they come."""
    received = metrics.rpc_messages_received.labels(*call.labels)
    if not call.labels[0].startswith("stream"):
        received.inc()
        return request

    async def stream() -> AsyncIterator[Any]:
        async for message in request:
            received.inc()
            yield message

    return stream()
