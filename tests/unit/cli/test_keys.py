"""``stageaudit keys``: make, trust and list."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auditor.attest.keys import generate_key
from service.cli.keys import app
from service.cli.main import run
from service.keys import load_signing_key, read_trust


class Place:
    """A key folder and a trust file of a test's own."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        self.trust = folder / "config" / "trust.json"
        self.runner = CliRunner()

    def init(self, *options: str, typed: str | None = None) -> dict[str, Any]:
        """Run ``keys init --json``."""
        arguments = ["init", "--folder", str(self.keys), "--trust", str(self.trust), "--json"]
        result = self.runner.invoke(app, [*arguments, *options], input=typed)
        assert result.exit_code == 0, result.output
        printed: dict[str, Any] = json.loads(result.stdout[result.stdout.index("{") :])
        return printed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_init_makes_a_key_and_trusts_it(place: Place) -> None:
    printed = place.init("--name", "our service")

    (entry,) = read_trust(place.trust).keys
    assert printed["created"] is True
    assert entry.keyid == printed["keyid"] == load_signing_key(place.keys).public_key.keyid
    assert entry.name == "our service"
    assert entry.not_before is not None


def test_init_keeps_an_existing_key(place: Place) -> None:
    first = place.init()

    second = place.init()

    assert second["created"] is False
    assert second["keyid"] == first["keyid"]
    assert len(read_trust(place.trust).keys) == 1


def test_init_trusts_a_key_that_was_there_without_a_start(place: Place) -> None:
    place.init()
    place.trust.unlink()

    place.init()

    (entry,) = read_trust(place.trust).keys
    assert entry.not_before is None  # it may have signed before


def test_init_makes_p256_on_request(place: Place) -> None:
    assert place.init("--algorithm", "p256")["algorithm"] == "p256"


def test_init_encrypts_with_a_typed_password(place: Place) -> None:
    printed = place.init("--encrypt", typed="correct horse\ncorrect horse\n")

    signer = load_signing_key(place.keys, password=b"correct horse")
    assert signer.public_key.keyid == printed["keyid"]


def test_private_key_is_never_printed(place: Place) -> None:
    arguments = ["init", "--folder", str(place.keys), "--trust", str(place.trust)]

    result = place.runner.invoke(app, arguments)

    assert "PRIVATE" not in result.output
    assert "signing.pub.pem" in result.output


def test_trust_adds_a_public_key_with_its_validity(place: Place, tmp_path: Path) -> None:
    pair = generate_key()
    public = tmp_path / "vendor.pub.pem"
    public.write_text(pair.public_pem)
    options = ["--name", "vendor", "--not-after", "2027-01-01T00:00:00Z"]

    result = place.runner.invoke(app, ["trust", str(public), *options, "--trust", str(place.trust)])

    assert result.exit_code == 0
    assert pair.keyid in result.output
    (entry,) = read_trust(place.trust).keys
    assert (entry.name, entry.not_before) == ("vendor", None)
    assert entry.not_after is not None
    assert entry.not_after.year == 2027


def test_trusting_twice_is_refused(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = tmp_path / "vendor.pub.pem"
    public.write_text(generate_key().public_pem)
    command = ["keys", "trust", str(public), "--name", "v", "--trust", str(place.trust)]
    with pytest.raises(SystemExit, match="0"):
        run(command)

    with pytest.raises(SystemExit, match="7"):
        run(command)

    assert "a key that is not listed yet" in capsys.readouterr().err


def test_list_shows_what_is_trusted(place: Place) -> None:
    keyid = place.init("--name", "our service")["keyid"]

    result = place.runner.invoke(app, ["list", "--trust", str(place.trust), "--json"])

    (entry,) = json.loads(result.stdout)["keys"]
    assert (entry["keyid"], entry["name"], entry["status"]) == (keyid, "our service", "active")


def test_empty_list_says_how_to_add_a_key(place: Place) -> None:
    result = place.runner.invoke(app, ["list", "--trust", str(place.trust)])

    assert result.exit_code == 0
    assert "keys trust" in result.output


def test_report_dated_in_the_second_of_the_key_is_within_its_validity(place: Place) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    place.init()

    (entry,) = read_trust(place.trust).keys
    assert entry.not_before is not None
    assert before <= entry.not_before
    assert entry.covers(datetime.now(UTC).replace(microsecond=0))
