"""Plain HTTP for probes: small, patient with nobody."""

import asyncio

from service.http import REQUEST_BYTES, Pages
from service.metrics import Metrics
from service.servicers.health import Readiness
from service.threads import Threads


async def exchange(request: bytes, *, ready: bool = True) -> bytes:
    metrics = Metrics()
    readiness = Readiness(conditions=("store",), metrics=metrics)
    await readiness.report("store", holds=ready)
    threads = Threads(count=1)
    pages = Pages(metrics=metrics, readiness=readiness, threads=threads)
    port = await pages.listen(host="127.0.0.1", port=0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer
    finally:
        await pages.close()
        threads.close()


def ask(request: bytes, *, ready: bool = True) -> tuple[int, bytes]:
    """Return the status and the body that a request is answered with."""
    answer = asyncio.run(exchange(request, ready=ready))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def test_readiness_follows_the_conditions() -> None:
    request = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"

    assert ask(request)[0] == 200
    assert ask(request, ready=False)[0] == 503


def test_conditions_are_listed() -> None:
    _, body = ask(b"GET /readyz HTTP/1.1\r\n\r\n", ready=False)

    assert b'"store": false' in body


def test_life_does_not_depend_on_readiness() -> None:
    assert ask(b"GET /livez HTTP/1.1\r\n\r\n", ready=False) == (200, b"alive\n")


def test_head_has_no_body() -> None:
    assert ask(b"HEAD /metrics HTTP/1.1\r\n\r\n") == (200, b"")


def test_nonsense_is_a_bad_request() -> None:
    assert ask(b"nonsense\r\n\r\n")[0] == 400
    assert ask(b"\xff\xff \xff\r\n\r\n")[0] == 400


def test_cut_request_is_a_bad_request() -> None:
    assert ask(b"GET /metrics HTTP/1.1\r\n")[0] == 400


def test_too_long_a_request_is_a_bad_request() -> None:
    # Small enough that all of it is read before the answer closes the connection.
    assert ask(b"GET /" + b"a" * REQUEST_BYTES + b"\r\n\r\n")[0] == 400
