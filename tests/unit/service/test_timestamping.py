"""Asking a time-stamping authority: which addresses, and which answers are none."""

import gc

import pytest

from auditor.attest.timestamp import RESPONSE_LIMIT_BYTES
from auditor.errors import InputError, UnavailableError
from service.timestamping import ask_authority, checked_url
from tests.support.fake_clock import FakeClock
from tests.support.time_server import Given, time_server


def ask(given: Given) -> bytes:
    with time_server(given) as url:
        return ask_authority(url, b"query", timeout_seconds=20)


@pytest.mark.parametrize(
    "url",
    [
        "https://time.example/tsr",
        "https://time.example:8443",
        "http://127.0.0.1:3161/",
        "http://localhost",
        "http://[::1]:3161",
    ],
)
def test_address_is_https_or_of_this_machine(url: str) -> None:
    assert checked_url(url, where="url") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "time.example",
        "http://time.example/tsr",
        "http://127.0.0.1.example/",
        "file:///etc/passwd",
        "ftp://time.example",
        "https://",
        "https://me:secret@time.example",
        "https://time.example:port",
        "http://[::1",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="an https address"):
        ask_authority(url, b"query", timeout_seconds=20)


def test_answer_is_what_the_authority_sent() -> None:
    given = Given(lambda query: b"answer to " + query)

    assert ask(given) == b"answer to query"
    assert given.asked == ["application/timestamp-query"]


REFUSED = {
    "status": Given(lambda _: b"", status=503),
    "type": Given(lambda _: b"<html>", kind="text/html"),
    "size": Given(lambda _: b"x" * (RESPONSE_LIMIT_BYTES + 1)),
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_answer_is_unavailable(given: Given) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as caught:
        ask(given)
    # An error that is part of a cycle, as in a command's traceback, is collected in any order: a
    # connection that it holds open is then a warning, which fails the test.
    cycle: list[object] = [caught.value]
    cycle.append(cycle)
    del caught, cycle
    gc.collect()


def test_answer_that_drips_is_not_waited_for() -> None:
    clock = FakeClock()
    given = Given(lambda _: b"x" * 5, piece_bytes=1, before_piece=lambda: clock.advance(8))

    with time_server(given) as url, pytest.raises(UnavailableError, match="when the time was over"):
        ask_authority(url, b"query", timeout_seconds=20, clock=clock)


def test_answer_in_pieces_that_is_there_in_time_is_taken() -> None:
    clock = FakeClock()
    given = Given(lambda _: b"xyz", piece_bytes=1, before_piece=lambda: clock.advance(5))

    with time_server(given) as url:
        assert ask_authority(url, b"query", timeout_seconds=20, clock=clock) == b"xyz"


def test_answer_that_is_cut_off_is_none() -> None:
    with pytest.raises(UnavailableError, match="1 more expected"):
        ask(Given(lambda _: b"xyz", cut_bytes=1))


def test_redirect_is_not_followed() -> None:
    elsewhere = Given(lambda _: b"answer")

    with time_server(elsewhere) as url, pytest.raises(UnavailableError, match="status 302"):
        ask(Given(lambda _: b"", status=302, headers={"Location": url}))

    assert elsewhere.asked == []


def test_nobody_at_the_address_is_unavailable() -> None:
    with time_server(Given(lambda _: b"")) as url:
        pass

    with pytest.raises(UnavailableError, match="can be stamped at any time"):
        ask_authority(url, b"query", timeout_seconds=20)
