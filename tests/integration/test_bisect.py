"""``stageaudit bisect`` as a user types it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import run
from tests.support.recorded_log import write_recorded_data, write_recorded_log

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


Type = Callable[..., Said]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bisect")
    stages = ("base", "tune")
    write_recorded_log(root / "a", stages=stages)
    write_recorded_log(root / "slow", stages=stages, rates={"base": 0.0005})
    write_recorded_log(root / "alike", stages=stages, rates={"base": 0.05001})
    write_recorded_log(root / "longer", stages=(*stages, "align"))
    write_recorded_data(root / "heldout")
    for name in ("loss", "accuracy"):
        better = "lower" if name == "loss" else "higher"
        query = f"{{name: {name}, kind: {name}, better: {better}, data: heldout}}"
        (root / f"{name}.yaml").write_text(f"queries:\n  - {query}\n")
    return root


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return typed


def test_changed_rate_is_named_and_the_exit_code_says_so(type_: Type, work: Path) -> None:
    said = type_("bisect", work / "a", work / "slow", "--query", work / "loss.yaml")

    assert said.code == 0, said.err
    assert "this change did it" in said.out
    assert "Had stage 'base' of B used the settings of A" in said.out


def test_json_holds_every_query_of_every_file(type_: Type, work: Path) -> None:
    said = type_(
        "bisect", work / "a", work / "slow", "--query", work / "loss.yaml",
        "--query", work / "accuracy.yaml", "--draws", "4", "--json",
    )  # fmt: skip

    found = {query["query"]: query for query in said.json["queries"]}
    assert said.code == 0, said.err
    assert list(found) == ["loss", "accuracy"]
    (explanation,) = found["loss"]["explanations"]
    assert (explanation["stage"], explanation["part"]) == ("base", "settings")
    assert explanation["what"] == ["lr"]
    assert explanation["explained"] == pytest.approx(found["loss"]["gap"], rel=1e-4)
    assert said.json["draws"] == 4


def test_change_that_is_smaller_than_the_noise_is_not_named(type_: Type, work: Path) -> None:
    said = type_("bisect", work / "a", work / "alike", "--query", work / "loss.yaml")

    assert said.code == 1
    assert "No single change explains" in said.out


def test_releases_of_other_pipelines_are_refused(type_: Type, work: Path) -> None:
    said = type_("bisect", work / "a", work / "longer", "--query", work / "loss.yaml")

    assert said.code == 7
    assert "--skip STAGE" in said.err


def test_query_that_is_given_twice_is_refused(type_: Type, work: Path) -> None:
    twice = ["--query", work / "loss.yaml"] * 2

    said = type_("bisect", work / "a", work / "slow", *twice)

    assert said.code == 7
    assert "every query once" in said.err
