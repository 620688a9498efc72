"""Refusals on the command line: readable, as JSON where asked, with the exit code for scripts."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.record.evalset import save_evaluation_set
from service.cli.main import run as run_command
from service.config import config_folder
from tests.support.builders import RecordedRun, make_columns, make_stage_log
from tests.support.forgery import with_stage
from tests.support.recorded_log import write_recorded_data
from tests.support.refusals import held_by, write_folder
from tests.support.served import Served, served


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, Any]:
        """Return the last line of JSON on stderr."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


Type = Callable[..., Said]


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*arguments: str | Path) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return typed


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return make_stage_log(stages=2, steps=2)


@pytest.fixture(scope="module")
def log(run: RecordedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(run, tmp_path_factory.mktemp("good") / "log")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that commands find by the user's client.toml."""
    settings = config_folder() / "client.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    with served(tmp_path_factory.mktemp("served")) as running:
        settings.write_text(
            f'server = "{running.address.address}"\ntoken_file = "{running.config.token_path}"\n'
        )
        yield running
        settings.unlink()


@pytest.fixture
def gap(run: RecordedRun, tmp_path: Path) -> Path:
    return write_folder(with_stage(run, 1, first_step=3), tmp_path / "gap")


def test_push_says_what_is_wrong(type_: Type, service: Served, gap: Path) -> None:
    said = type_("push", gap)

    assert said.code == 7
    assert said.out == ""
    lines = [line.strip() for line in said.err.splitlines()]
    assert lines == [
        "error: stages[1].first_step",
        "expected  2, where the stage before ends",
        "found     3, a gap",
        "Number steps through all stages without holes.",
    ]


def test_push_says_it_as_json(type_: Type, service: Served, gap: Path) -> None:
    said = type_("push", gap, "--json")

    assert said.code == 7
    assert said.out == ""
    assert said.error == {
        "code": "INVALID_STAGE_LOG",
        "where": "stages[1].first_step",
        "expected": "2, where the stage before ends",
        "found": "3, a gap",
        "remedy": "Number steps through all stages without holes.",
        "exit_code": 7,
    }


def test_push_of_several_stops_at_what_is_refused(
    type_: Type, service: Served, gap: Path, tmp_path: Path
) -> None:
    write_recorded_data(tmp_path / "heldout")
    with service.client() as client:
        before = held_by(service, client)

        said = type_("push", tmp_path / "heldout", gap, "--json")

        assert said.code == 7
        assert held_by(service, client) == before


@pytest.mark.parametrize(
    ("flags", "code", "where"),
    [
        (("--skip", "stage9"), "INVALID_INPUT", "interventions[0].stage"),
        (("--drop", "stage1:source=acme"), "INVALID_INPUT", "interventions[0].where.source"),
        (("--skip", "stage1", "--class", "9"), "INVALID_QUERY", "queries[0].class"),
        (
            ("--drop", "stage1:source=own", "--estimator", "task_vector"),
            "UNSUPPORTED",
            "interventions[0].kind",
        ),
    ],
)
def test_audit_says_what_is_wrong(
    type_: Type, service: Served, log: Path, tmp_path: Path, *, flags: tuple[str, ...], code: str,
    where: str,
) -> None:  # fmt: skip
    held_out = write_held_out(tmp_path / "heldout")
    asked = (
        "audit", "--query", "margin", "--better", "higher", "--data", held_out, *flags,
    )  # fmt: skip

    here = type_(*asked, "--local", log, "--json")
    there, people = type_(*asked, "--log", log, "--json"), type_(*asked, "--log", log)

    assert (here.code, there.code, people.code) == (7, 7, 7), here.err + there.err
    assert there.error == here.error  # the same words from the service as from this process
    assert (there.error["code"], there.error["where"]) == (code, where)
    assert people.err.splitlines()[-4] == f"error: {where}"
    with service.client() as client:
        assert client.list_audits() == []


def write_held_out(folder: Path) -> Path:
    save_evaluation_set(folder, "held-out", make_columns(examples=12))
    return folder


def test_usage_ends_with_2(type_: Type, service: Served, log: Path) -> None:
    assert type_("audit", "--log", log, "--replicas", "many").code == 2
    assert type_("push", log / "nowhere").code == 2
    assert type_("no-such-command").code == 2


def test_nobody_at_the_address_ends_with_8(type_: Type, log: Path) -> None:
    said = type_("push", log, "--server", "127.0.0.1:1", "--json")

    assert said.code == 8
    assert said.error["code"] == "UNAVAILABLE"
    assert "stageaudit serve" in said.error["remedy"]
