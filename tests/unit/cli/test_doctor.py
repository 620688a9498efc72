"""Findings about an installation, each from what it was given."""

import socket
from pathlib import Path

import pytest

from auditor.attest.trust import trust_key
from service.cli.doctor import (
    ENOUGH_FREE_BYTES,
    EXTRAS,
    Status,
    check_disk,
    check_extra,
    check_key,
    check_python,
    check_ray,
    check_records,
    check_service,
    doctor,
)
from service.keys import add_trusted_key, create_signing_key
from service.ray_config import RayConfig
from service.records.engine import open_engine
from service.records.migrate import migrate


@pytest.mark.parametrize(
    ("found", "status"), [((3, 10, 9), Status.PROBLEM), ((3, 11, 0), Status.OK)]
)
def test_python_below_the_minimum_is_a_problem(found: tuple[int, ...], status: Status) -> None:
    assert check_python(found).status is status


def test_missing_extra_is_a_note_that_says_how_to_install_it() -> None:
    finding = check_extra("log", is_installed=lambda module: module != "pyarrow")

    assert finding.status is Status.NOTE
    assert finding.found == "missing pyarrow"
    assert "pip install 'stageaudit[log]'" in finding.remedy


@pytest.mark.parametrize("extra", EXTRAS)
def test_installed_extra_is_ok(extra: str) -> None:
    assert check_extra(extra, is_installed=lambda _: True).status is Status.OK


def test_doctor_prints_the_names_of_extras(capsys: pytest.CaptureFixture[str]) -> None:
    doctor()

    assert "[demo]" in capsys.readouterr().out


@pytest.mark.parametrize(("missing", "status"), [(0, Status.OK), (1, Status.PROBLEM)])
def test_full_disk_is_a_problem(missing: int, status: Status, tmp_path: Path) -> None:
    finding = check_disk("data", tmp_path, free_bytes=ENOUGH_FREE_BYTES - missing)

    assert finding.status is status


def test_no_database_is_a_note(tmp_path: Path) -> None:
    assert check_records(tmp_path / "records.sqlite").status is Status.NOTE


def test_a_database_is_named_with_its_schema(records_at: Path | str) -> None:
    engine = open_engine(records_at)
    revision = migrate(engine)
    engine.dispose()

    finding = check_records(records_at)

    assert finding.status is Status.OK
    assert f"schema {revision}" in finding.found
    assert ("SQLite" in finding.found) is isinstance(records_at, Path)


def test_a_database_that_is_away_is_a_problem_named_without_its_password() -> None:
    finding = check_records("postgresql+psycopg://me:secret@/any?host=/nowhere")

    assert finding.status is Status.PROBLEM
    assert "me:***@" in finding.found
    assert "runs" in finding.remedy


def test_no_key_is_a_note(tmp_path: Path) -> None:
    assert check_key(tmp_path, trust=tmp_path / "trust.json").status is Status.NOTE


def test_key_that_is_not_trusted_here_is_a_note(tmp_path: Path) -> None:
    create_signing_key(tmp_path)

    finding = check_key(tmp_path, trust=tmp_path / "trust.json")

    assert finding.status is Status.NOTE
    assert "keys init" in finding.remedy


def test_trusted_key_is_ok(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path)
    add_trusted_key(tmp_path / "trust.json", trust_key(stored.public_pem, name="me"))

    assert check_key(tmp_path, trust=tmp_path / "trust.json").status is Status.OK


def test_key_that_others_may_read_is_a_problem(tmp_path: Path) -> None:
    stored = create_signing_key(tmp_path)
    stored.private_path.chmod(0o444)

    finding = check_key(tmp_path, trust=tmp_path / "trust.json")

    assert finding.status is Status.PROBLEM
    assert "chmod" in finding.remedy


def test_no_service_is_a_note_unless_one_was_named() -> None:
    finding = check_service(None)

    assert finding.status is Status.NOTE
    assert "--local" in finding.remedy


def test_a_ray_cluster_that_answers_is_ok_and_one_that_does_not_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        answering = check_ray(RayConfig(address=address))
    silent = check_ray(RayConfig(address=address))

    assert answering.status is Status.OK
    assert silent.status is Status.PROBLEM
    assert "ray start" in silent.remedy
