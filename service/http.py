"""``/metrics``, ``/livez`` and ``/readyz`` over plain HTTP on a second port.

On the event loop on purpose: a loop that is stuck does not answer ``/livez``. Requests have no
body, answers close the connection, anything odd is 400.
"""

import asyncio
import contextlib
import json
from http import HTTPStatus
from typing import final

from auditor.errors import UnavailableError
from service.metrics import Metrics
from service.servicers.health import Readiness
from service.threads import Threads

REQUEST_BYTES = 8192
REQUEST_SECONDS = 5.0

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


@final
class Pages:
    """The pages that probes and Prometheus read.

    Args:
        metrics: Shown by ``/metrics``.
        readiness: Shown by ``/readyz``.
        threads: Where the metrics are written out.
    """

    def __init__(self, *, metrics: Metrics, readiness: Readiness, threads: Threads) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._threads = threads
        self._server: asyncio.Server | None = None

    async def listen(self, *, host: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            UnavailableError: If the port is taken.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=REQUEST_BYTES, reuse_port=False
            )
        except OSError as error:
            raise UnavailableError(
                "metrics_port",
                expected="a free port",
                found=f"{host}:{port} in use",
                remedy="Stop the other program or choose another --metrics-port; 0 takes a free "
                "one.",
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def answer(self, target: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body of a page."""
        match target.partition("?")[0]:
            case "/metrics":
                return HTTPStatus.OK, _METRICS, await self._threads.run(self._metrics.exposition)
            case "/livez":
                return HTTPStatus.OK, _TEXT, b"alive\n"
            case "/readyz":
                status = HTTPStatus.OK if self._readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
                body = json.dumps(dict(self._readiness.conditions), indent=2) + "\n"
                return status, "application/json", body.encode()
            case _:
                return HTTPStatus.NOT_FOUND, _TEXT, b"/metrics, /livez, /readyz\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            if method in {"GET", "HEAD"}:
                status, kind, body = await self.answer(target)
            else:
                status, kind, body = HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET only\n"
            writer.write(_head(status, kind=kind, length=len(body)))
            writer.write(b"" if method == "HEAD" else body)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, TimeoutError):
            writer.write(_head(HTTPStatus.BAD_REQUEST, kind=_TEXT, length=0))
        finally:
            # A client that left waits for no answer.
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()


def _head(status: HTTPStatus, *, kind: str, length: int) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
