"""``/metrics``, ``/livez``, ``/readyz`` and pages of reports over plain HTTP on a second port.

On the event loop on purpose: a loop that is stuck does not answer ``/livez``. Requests have no
body, answers close the connection, anything odd is 400.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import final

from auditor.errors import (
    ArtifactError,
    AuditorError,
    AuthenticationError,
    UnavailableError,
)
from service.metrics import Metrics
from service.report_pages import ReportPages
from service.servicers.health import Readiness
from service.threads import Threads

REQUEST_BYTES = 8192
REQUEST_SECONDS = 5.0

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_REPORTS = "/tenants/"
_PAGES = b"/metrics, /livez, /readyz, and pages of reports by signed links\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a request is answered with."""

    status: HTTPStatus = HTTPStatus.OK
    kind: str = _TEXT
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@final
class Pages:
    """The pages that probes and Prometheus read, and those that people open by a link.

    Args:
        metrics: Shown by ``/metrics``.
        readiness: Shown by ``/readyz``.
        reports: Behind signed links.
        threads: Where the metrics are written out and pages rendered.
    """

    def __init__(
        self, *, metrics: Metrics, readiness: Readiness, reports: ReportPages, threads: Threads
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._reports = reports
        self._threads = threads
        self._server: asyncio.Server | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Where the pages are: ``http://HOST:PORT``; empty before anything listens."""
        return self._url

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
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        return bound

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def answer(self, target: str) -> Answer:
        """Return the answer to a request of a page."""
        match target.partition("?")[0]:
            case "/metrics":
                return Answer(kind=_METRICS, body=await self._threads.run(self._metrics.exposition))
            case "/livez":
                return Answer(body=b"alive\n")
            case "/readyz":
                status = HTTPStatus.OK if self._readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
                body = json.dumps(dict(self._readiness.conditions), indent=2) + "\n"
                return Answer(status=status, kind="application/json", body=body.encode())
            case path if path.startswith(_REPORTS):
                return await self._report(target)
            case _:
                return Answer(status=HTTPStatus.NOT_FOUND, body=_PAGES)

    async def _report(self, target: str) -> Answer:
        """Return a report's page, or why the link does not lead to one."""
        try:
            page = await self._threads.run(self._reports.page, target)
        except AuthenticationError as error:
            return _said(error, HTTPStatus.FORBIDDEN)
        except ArtifactError as error:
            return _said(error, HTTPStatus.NOT_FOUND)
        except AuditorError as error:
            return _said(error, HTTPStatus.INTERNAL_SERVER_ERROR)
        return Answer(kind=_HTML, body=page, headers=self._reports.headers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            if method in {"GET", "HEAD"}:
                answer = await self.answer(target)
            else:
                answer = Answer(status=HTTPStatus.METHOD_NOT_ALLOWED, body=b"GET only\n")
            writer.write(_head(answer))
            writer.write(b"" if method == "HEAD" else answer.body)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, TimeoutError):
            writer.write(_head(Answer(status=HTTPStatus.BAD_REQUEST)))
        finally:
            # A client that left waits for no answer.
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()


def _said(error: AuditorError, status: HTTPStatus) -> Answer:
    return Answer(status=status, body=f"{error}\n".encode())


def _head(answer: Answer) -> bytes:
    lines = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
