"""``stageaudit timestamp`` and ``keys trust-tsa``: by address, by file, and what is refused."""

import json
from pathlib import Path

import pytest

from auditor.attest.bundle import parse_bundle
from tests.support.reports import make_signed
from tests.support.time_server import Given, time_server
from tests.support.timestamps import LONG, Authority, make_authority
from tests.unit.cli.test_verify import Desk, leave

pytestmark = pytest.mark.tool("openssl")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, make_signed())


@pytest.fixture
def chain(authority: Authority, tmp_path: Path) -> Path:
    """The authority's certificates, as one downloads them: with words around."""
    path = tmp_path / "chain.pem"
    path.write_text(f"# our time\n{authority.chain}")
    return path


def trust_tsa(desk: Desk, chain: Path, *arguments: object) -> int:
    return leave(
        "keys", "trust-tsa", chain, "--name", "Clock", "--trust", desk.trust,
        "--max-delay", LONG, *arguments,
    )  # fmt: skip


def test_token_is_asked_for_by_address_and_verifies(
    desk: Desk, chain: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with time_server(Given(authority.answer)) as url:
        assert trust_tsa(desk, chain, "--url", url) == 0
        assert leave("timestamp", desk.bundle, "--trust", desk.trust) == 0
    said = capsys.readouterr().out
    assert "Trusted time-stamping authority Clock\n  CN=Time\n  CN=Root" in said
    assert "within 1.5 s, says Clock." in said

    assert desk.verify("--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["time"]["claimed"] == "2026-03-01T12:00:00+00:00"
    assert printed["time"]["authority"] == "Clock"
    assert len(parse_bundle(desk.bundle.read_bytes()).tokens) == 1


def test_token_is_asked_for_by_files(
    desk: Desk, chain: Path, authority: Authority, tmp_path: Path
) -> None:
    query, answer, out = (tmp_path / name for name in ("q.tsq", "a.tsr", "stamped.json"))
    trust_tsa(desk, chain)

    assert leave("timestamp", desk.bundle, "--request", query) == 0
    answer.write_bytes(authority.answer(query.read_bytes()))
    command = ("timestamp", desk.bundle, "--response", answer, "--trust", desk.trust)
    assert leave(*command, "-o", out) == 0

    assert desk.bundle.read_bytes() == desk.signed.bundle
    desk.bundle.write_bytes(out.read_bytes())
    assert desk.verify() == 0


def test_back_dated_report_has_its_own_exit_code(
    desk: Desk, chain: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.bundle.write_bytes(authority.stamp(desk.signed.bundle))
    leave("keys", "trust-tsa", chain, "--name", "Clock", "--trust", desk.trust)

    assert desk.verify("--json") == 13

    said = capsys.readouterr()
    assert json.loads(said.err)["error"]["code"] == "BACK_DATED"
    assert said.out.rstrip().endswith('"verified": false\n}')


def test_token_that_does_not_verify_is_not_attached(
    desk: Desk, chain: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = make_authority(tmp_path / "other")
    trust_tsa(desk, chain)

    with time_server(Given(other.answer)) as url:
        assert leave("timestamp", desk.bundle, "--url", url, "--trust", desk.trust) == 3
    with time_server(Given(lambda _: b"no answer")) as url:
        assert leave("timestamp", desk.bundle, "--url", url, "--trust", desk.trust) == 7

    assert desk.bundle.read_bytes() == desk.signed.bundle


def test_authority_that_cannot_be_reached_ends_with_8(desk: Desk, chain: Path) -> None:
    with time_server(Given(lambda _: b"", status=500)) as url:
        trust_tsa(desk, chain, "--url", url)
        assert leave("timestamp", desk.bundle, "--trust", desk.trust) == 8


def test_wrong_usage_ends_with_2(desk: Desk, chain: Path) -> None:
    assert leave("timestamp", desk.bundle, "--trust", desk.trust) == 2
    assert leave("timestamp", desk.bundle, "--url", "https://x.example", "--request", "q") == 2
    assert trust_tsa(desk, chain, "--max-delay", "soon") == 2


def test_authority_must_have_a_root_and_an_address_of_its_own(desk: Desk, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")

    assert trust_tsa(desk, empty) == 7
    assert trust_tsa(desk, desk.key) == 7


def test_authorities_are_listed_once(
    desk: Desk, chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust_tsa(desk, chain, "--url", "https://time.example")
    assert trust_tsa(desk, chain) == 7
    capsys.readouterr()

    leave("keys", "list", "--trust", desk.trust)

    assert "time-stamping authority Clock: https://time.example" in capsys.readouterr().out
