"""``stageaudit repair`` as a user types it: in this process and at a real service."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from auditor.edge.folder import read_log
from auditor.stagelog.digest import Digest
from service.cli.main import run
from service.config import config_folder
from service.demo.embedded import Embedded, embedded_service
from tests.support.recorded_log import write_recorded_data, write_recorded_log

pytestmark = pytest.mark.slow

STAGES = ("base", "vendor", "tune")


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
    root = tmp_path_factory.mktemp("repair")
    write_recorded_log(root / "log", stages=STAGES)
    write_recorded_data(root / "heldout")
    (root / "request.yaml").write_text(
        "log: log\n"
        "queries:\n"
        "  - {name: loss, kind: loss, better: lower, data: heldout}\n"
        "  - {name: accuracy, kind: accuracy, better: higher, data: heldout}\n"
    )
    return root


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of this module's own, so that its key signs nobody else's reports."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(folder / name.lower()))


@pytest.fixture
def signing_key() -> None:
    with pytest.raises(SystemExit):
        run(["keys", "init"])


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return typed


def here(work: Path, out: Path, *flags: str) -> list[object]:
    request = ["--request", work / "request.yaml", "--out", out, "--local"]
    return ["repair", work / "log", *request, *flags]


def checkpoint(work: Path, boundary: int) -> Path:
    log, _, blobs = read_log(work / "log")
    return blobs.path(Digest(log.boundary(boundary).parameters))


def files(work: Path, out: Path) -> list[object]:
    return [
        out / "repair.json",
        out / "repaired.safetensors",
        work / "log" / "stagelog.json",
        f"model.safetensors={checkpoint(work, len(STAGES))}",
    ]


def test_without_the_last_stage_the_checkpoint_before_it_comes_out(
    type_: Type, work: Path, tmp_path: Path, signing_key: None
) -> None:
    said = type_(*here(work, tmp_path / "out", "--skip", "tune"))

    assert said.code == 0, said.err
    assert "An approximate model of training without stage 'tune'" in said.out
    found = load_file(tmp_path / "out" / "repaired.safetensors")
    expected = load_file(checkpoint(work, len(STAGES) - 1))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_statement_verifies_and_notices_another_file(
    type_: Type, work: Path, tmp_path: Path, signing_key: None
) -> None:
    out = tmp_path / "out"
    made = type_(*here(work, out, "--skip", "vendor", "--json"))

    verified = type_("verify", *files(work, out), "--json")
    model = out / "repaired.safetensors"
    altered = bytearray(model.read_bytes())
    altered[-1] ^= 1
    model.chmod(0o644)
    model.write_bytes(altered)
    refused = type_("verify", *files(work, out))

    assert (made.code, verified.code, refused.code) == (0, 0, 4)
    assert {subject["outcome"] for subject in verified.json["subjects"]} == {"matches"}
    assert "REPAIRED_MODEL" in {item["id"] for item in verified.json["limitations"]}
    assert made.json["report"]["repair"]["model"]["digest"] in {
        subject["digest"] for subject in verified.json["subjects"]
    }


def test_verify_and_report_show_tell_what_was_repaired(
    type_: Type, work: Path, tmp_path: Path, signing_key: None
) -> None:
    out = tmp_path / "out"
    type_(*here(work, out, "--fade", "vendor=0.5"))

    verified = type_("verify", *files(work, out))
    shown = type_("report", "show", out / "repair.json")

    sentence = "An approximate model of training without 50 % of every update of stage 'vendor'"
    assert (verified.code, shown.code) == (0, 0), verified.err + shown.err
    assert sentence in verified.out
    assert sentence in shown.out
    assert "Repaired: fade vendor alpha=0.5" in shown.out


def test_search_hands_out_the_gentlest_level_that_meets_the_goals(
    type_: Type, work: Path, tmp_path: Path, signing_key: None
) -> None:
    ends = type_(*here(work, tmp_path / "ends", "--skip", "base", "--json")).json
    (loss, _) = ends["report"]["repair"]["queries"]
    middle = (loss["before"] + loss["after"]) / 2
    relation = ">" if loss["after"] > loss["before"] else "<"

    said = type_(
        *here(work, tmp_path / "out", "--fade", "base", "--until", f"loss {relation} {middle}"),
        "--json",
    )

    tried = {row["alpha"]: row for row in said.json["candidates"]}
    best = said.json["best"]
    gentler = [row for alpha, row in tried.items() if alpha > best]
    assert said.code == 0, said.err
    assert tried[best]["met"]
    assert not any(row["met"] for row in gentler)
    assert min(row["alpha"] for row in gentler) - best <= 0.02
    repair = said.json["report"]["repair"]
    assert repair["intervention"]["alpha"] == best
    assert repair["queries"][0]["after"] == pytest.approx(tried[best]["after"]["loss"], rel=1e-6)
    assert len(said.json["report"]["effects"]) == 2 * len(tried)


def test_search_without_a_level_shows_the_closest_and_writes_nothing(
    type_: Type, work: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    said = type_(*here(work, out, "--fade", "base", "--until", "loss < 0.0001"))

    assert said.code == 1
    assert "comes closest. Nothing was written." in said.out
    assert not out.exists()


def test_goal_that_is_not_met_ends_with_exit_code_1(
    type_: Type, work: Path, tmp_path: Path
) -> None:
    said = type_(*here(work, tmp_path / "out", "--skip", "base", "--until", "loss < 0.0001"))

    assert said.code == 1
    assert "not met" in said.out


def test_folder_with_files_is_left_alone(type_: Type, work: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")

    said = type_(*here(work, tmp_path, "--skip", "base"))

    assert said.code == 7
    assert "empty or new folder" in said.err


def test_service_repairs_as_this_process_does(
    type_: Type, work: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    type_(*here(work, tmp_path / "here", "--skip", "base"))
    request = ["--request", work / "request.yaml", "--out", tmp_path / "there", "--skip", "base"]
    with embedded_service(tmp_path_factory.mktemp("service") / "data") as service:
        verified = _repair_there(type_, service, work, tmp_path / "there", request)

    found = load_file(tmp_path / "there" / "repaired.safetensors")
    expected = load_file(tmp_path / "here" / "repaired.safetensors")
    assert verified.code == 0, verified.err
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-7)


def _repair_there(
    type_: Type, service: Embedded, work: Path, out: Path, request: list[object]
) -> Said:
    settings = config_folder() / "client.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        f'server = "{service.address}"\ntoken_file = "{service.data_dir / "token"}"\n'
    )
    try:
        said = type_("repair", work / "log", *request)
    finally:
        settings.unlink()
    assert said.code == 0, said.err
    key = service.data_dir / "keys" / "signing.pub.pem"
    return type_("verify", *files(work, out), "--key", key)
