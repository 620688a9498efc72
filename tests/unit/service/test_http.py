"""Plain HTTP for probes: small, patient with nobody."""

import asyncio

import pytest

from auditor.attest.trust import TrustFile
from auditor.page.render import page_policy
from service.http import REQUEST_BYTES, Pages
from service.metrics import Metrics
from service.report_pages import ReportPages
from service.servicers.health import Readiness
from service.threads import Threads
from tests.support.linked_pages import LinkedPages, make_linked_pages
from tests.support.page_reader import read_page


async def exchange(
    request: bytes, *, ready: bool = True, reports: ReportPages | None = None
) -> bytes:
    metrics = Metrics()
    readiness = Readiness(conditions=("store",), metrics=metrics)
    await readiness.report("store", holds=ready)
    threads = Threads(count=1)
    pages = Pages(
        metrics=metrics,
        readiness=readiness,
        reports=reports or make_linked_pages().pages,
        threads=threads,
    )
    port = await pages.listen(host="127.0.0.1", port=0)
    assert pages.url == f"http://127.0.0.1:{port}"
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


def test_unknown_page_is_answered_with_all_there_are() -> None:
    status, body = ask(b"GET / HTTP/1.1\r\n\r\n")

    assert status == 404
    assert all(page in body for page in (b"/metrics", b"/livez", b"/readyz", b"reports"))


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


@pytest.fixture
def linked() -> LinkedPages:
    return make_linked_pages()


def opened(linked: LinkedPages, target: str) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body of a page that is asked for by a link."""
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answer = asyncio.run(exchange(request, reports=linked.pages)).decode()
    head, _, body = answer.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    return int(status.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body


def test_link_opens_the_page_and_nothing_may_run_in_it(linked: LinkedPages) -> None:
    status, headers, body = opened(linked, linked.link())

    assert status == 200
    assert "signature verified" in read_page(body).one("p", "seal").text
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"] == page_policy()
    assert "frame-ancestors 'none'" in page_policy()
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_link_that_is_over_is_forbidden(linked: LinkedPages) -> None:
    link = linked.link(seconds=60)
    linked.clock.advance(60)

    status, _, body = opened(linked, link)

    assert status == 403
    assert "Ask for a new link" in body


def test_changed_link_is_forbidden_and_tells_nothing(linked: LinkedPages) -> None:
    there = opened(linked, linked.link()[:-1] + "x")
    nowhere = opened(linked, linked.link(digest="f" * 64)[:-1] + "x")

    assert there[0] == 403
    assert there == nowhere


def test_another_tenants_link_does_not_lead_to_this_tenants_report(linked: LinkedPages) -> None:
    status, _, body = opened(linked, linked.link(tenant="team-b"))

    assert status == 404
    assert "<html" not in body


def test_report_whose_bundle_is_damaged_is_not_shown(linked: LinkedPages) -> None:
    for digest, data in linked.blobs.stored.items():
        linked.blobs.stored[digest] = data[:-1]

    status, headers, body = opened(linked, linked.link())

    assert (status, "<html" in body) == (404, False)
    assert headers["Content-Type"].startswith("text/plain")


def test_report_of_an_unknown_key_says_that_nothing_vouches_for_it() -> None:
    status, _, body = opened(linked := make_linked_pages(trust=TrustFile()), linked.link())

    assert status == 200
    assert "NOT verified" in read_page(body).one("p", "seal").text
