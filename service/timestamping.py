"""Ask a time-stamping authority for a token, over HTTP (RFC 3161, 3.4).

No proxy, no redirect, no credentials: what is sent is a digest, what comes back is checked against
the authority's certificates before it is used.
"""

from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from typing_extensions import override

from auditor.attest.timestamp import RESPONSE_LIMIT_BYTES
from auditor.edge.clock import Clock, SystemClock
from auditor.errors import InputError, UnavailableError
from service.ray_config import is_loopback

QUERY_TYPE: Final = "application/timestamp-query"
ANSWER_TYPE: Final = "application/timestamp-reply"


def checked_url(url: str, *, where: str) -> str:
    """Return the address of an authority if it may be asked.

    Raises:
        InputError: If it is neither ``https`` nor ``http`` to this machine, or holds a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, host, port_is_valid = urlsplit(""), "", False
    local = parts.scheme == "http" and is_loopback(host)
    if (parts.scheme == "https" or local) and host and port_is_valid and "@" not in parts.netloc:
        return url
    raise InputError(
        where,
        expected="an https address, or http to this machine, without a password",
        found=url,
        remedy="Ask from a machine that can reach the authority: --request, --response.",
    )


def ask_authority(
    url: str, query: bytes, *, timeout_seconds: float, clock: Clock | None = None
) -> bytes:
    """Return the authority's answer to a TimeStampReq, not checked.

    Args:
        url: Its address.
        query: The request in DER.
        timeout_seconds: For connecting, for each read, and until the body is there; looked at when
            the head is there and after each piece, so that the last read may end as much later.
        clock: Measures how long it takes; the machine's by default.

    Raises:
        InputError: If the address may not be asked.
        UnavailableError: If there is no answer of an authority.
    """
    headers = {"Content-Type": QUERY_TYPE, "Accept": ANSWER_TYPE}
    request = Request(checked_url(url, where="url"), data=query, headers=headers)  # noqa: S310
    clock = clock or SystemClock()
    deadline = clock.monotonic() + timeout_seconds
    try:
        with _opener().open(request, timeout=timeout_seconds) as answer:
            kind = answer.headers.get_content_type()
            body = _read(answer, deadline=deadline, clock=clock)
    except HTTPError as error:
        error.close()  # it holds the connection, and whoever reads it later has no use for that
        raise _unavailable(url, f"HTTP status {error.code}") from error
    except (URLError, HTTPException, OSError, ValueError) as error:  # the last: odd host names
        raise _unavailable(
            url, str(getattr(error, "reason", error)) or type(error).__name__
        ) from error
    if kind != ANSWER_TYPE or len(body) > RESPONSE_LIMIT_BYTES:
        raise _unavailable(url, f"{len(body)} bytes of {kind}")
    return body


def _read(answer: HTTPResponse, *, deadline: float, clock: Clock) -> bytes:
    """Return a body, or one byte more than the longest that is taken.

    Raises:
        TimeoutError: If it is not there in time.
        IncompleteRead: If it ends too early.
    """
    body = b""
    while len(body) <= RESPONSE_LIMIT_BYTES:
        piece = answer.read1(RESPONSE_LIMIT_BYTES + 1 - len(body))
        if not piece:
            if answer.length:
                raise IncompleteRead(body, answer.length)
            break
        body += piece
        if clock.monotonic() > deadline:
            raise TimeoutError(f"{len(body)} bytes, and no end, when the time was over")
    return body


class _NoRedirect(HTTPRedirectHandler):
    """An answer from elsewhere than was asked is none."""

    @override
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def _opener() -> OpenerDirector:
    """Return what opens an address as it is, ours to check: by no proxy and following nothing."""
    return build_opener(ProxyHandler({}), HTTPHandler(), HTTPSHandler(), _NoRedirect())


def _unavailable(url: str, found: str) -> UnavailableError:
    return UnavailableError(
        f"time-stamping authority {urlsplit(url).hostname}",
        expected=f"an answer with status {HTTPStatus.OK} and type {ANSWER_TYPE}",
        found=found,
        remedy="Try again later: a signed document can be stamped at any time.",
    )
