"""``stageaudit reproduce`` as a reader types it, on reports of this process and of a service."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from auditor.attest.bundle import parse_bundle, sign_report
from auditor.attest.canonical import read_record
from auditor.attest.report_subjects import report_subjects
from auditor.attest.statement import Statement
from auditor.edge.folder import read_log
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest
from service.cli.main import run
from service.config import load_service_config
from service.demo.embedded import embedded_service
from service.keys import load_signing_key
from tests.support.recorded_log import write_recorded_data, write_recorded_log

pytestmark = pytest.mark.slow

EFFECT = "skip base on loss"


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
    root = tmp_path_factory.mktemp("reproduce")
    model = write_recorded_log(root / "log")
    save_file(model.state_dict(), root / "model.safetensors")
    for name, seed in (("heldout", 100), ("clean", 101)):
        write_recorded_data(root / "data" / name, seed=seed)
    (root / "request.yaml").write_text(
        "log: log\n"
        "model: model.safetensors\n"
        "estimator: {id: subsampled_replay, fraction: 0.5, replicas: 3}\n"
        "extremes: 2\n"
        "queries:\n"
        "  - {name: loss, kind: loss, better: lower, data: data/heldout}\n"
        "interventions:\n"
        "  - {kind: skip, stage: base}\n"
        "  - {kind: replace, stage: base, reference: {data: data/clean}}\n"
    )
    return root


@pytest.fixture(scope="module")
def patched() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, patched: pytest.MonkeyPatch) -> None:
    """A user of this module's own, so that its key signs nobody else's reports."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        patched.setenv(name, str(folder / name.lower()))
    with pytest.raises(SystemExit):
        run(["keys", "init"])


@pytest.fixture(scope="module")
def report(work: Path, home: None) -> Path:
    """A report of this process, signed by the user's key."""
    path = work / "report.json"
    with pytest.raises(SystemExit) as ended:
        run(["audit", str(work / "request.yaml"), "--local", str(work / "log"), "-o", str(path)])
    assert not ended.value.code
    return path


@pytest.fixture
def type_(capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return typed


def again(report: Path, work: Path, *flags: object) -> list[object]:
    model = ["--model", work / "model.safetensors"]
    return ["reproduce", report, "--log", work / "log", "--data", work / "data", *model, *flags]


def resigned(report: Path, change: Callable[[Report], Report], to: Path) -> Path:
    """Write a report that was changed before the same key signed it."""
    statement = read_record(Statement, parse_bundle(report.read_bytes()).payload, where="statement")
    signer = load_signing_key(load_service_config().keys_dir)
    changed = change(statement.predicate)
    subjects = report_subjects(changed, model_format="safetensors")
    to.write_bytes(sign_report(changed, subjects, signer))
    return to


def by_where(said: Said) -> dict[str, Any]:
    return {figure["where"]: figure for figure in said.json["figures"]}


def test_every_figure_and_action_of_a_local_report_is_identical(
    type_: Type, work: Path, report: Path
) -> None:
    said = type_(*again(report, work, "--json"))

    assert said.code == 0, said.err
    assert said.json["outcome"] == "identical"
    assert {key["agreement"] for key in said.json["keys"]} == {"identical"}
    assert all(key["as_recorded"] for key in said.json["keys"])
    assert by_where(said)[f"effects[{EFFECT}].value"]["agreement"] == "identical"
    assert {"advance", "evaluate", "check_segment", "bind_model"} <= {
        key["kind"] for key in said.json["keys"]
    }


def test_every_action_of_a_service_is_identical(type_: Type, work: Path, tmp_path: Path) -> None:
    with embedded_service(tmp_path / "data") as service:
        token = (service.data_dir / "token").read_text().strip()
        server = ["--server", service.address]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STAGEAUDIT_TOKEN", token)
            path = tmp_path / "report.json"
            asked = type_("audit", work / "request.yaml", *server, "-o", path)
    assert asked.code == 0, asked.err

    key = tmp_path / "data" / "keys" / "signing.pub.pem"
    said = type_(*again(path, work, "--key", key, "--json"))

    assert said.code == 0, said.err
    assert said.json["outcome"] == "identical"
    assert {key["agreement"] for key in said.json["keys"]} == {"identical"}
    assert all(key["as_recorded"] for key in said.json["keys"])


def test_altered_figure_of_a_resigned_report_is_named(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    def alter(signed: Report) -> Report:
        first, *others = signed.effects
        altered = first.model_copy(update={"value": (first.value or 0.0) * 1.01})
        return signed.model_copy(update={"effects": (altered, *others)})

    said = type_(*again(resigned(report, alter, tmp_path / "altered.json"), work, "--json"))

    assert said.code == 20, said.err
    different = [where for where, own in by_where(said).items() if own["agreement"] == "different"]
    assert different == [f"effects[{EFFECT}].value"]


def test_altered_words_are_named_where_all_bits_are_the_same(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    def alter(signed: Report) -> Report:
        first, *others = signed.effects
        altered = first.model_copy(update={"statement": first.statement.replace("0", "1")})
        return signed.model_copy(update={"effects": (altered, *others)})

    said = type_(*again(resigned(report, alter, tmp_path / "altered.json"), work))

    assert said.code == 20, said.err
    assert f"effects[{EFFECT}].statement" in said.out


def test_other_numbers_of_lanes_and_threads_are_within_tolerance(
    type_: Type, work: Path, report: Path
) -> None:
    said = type_(*again(report, work, "--lanes", 1, "--threads", 2, "--json"))

    assert said.code == 0, said.err
    assert said.json["outcome"] == "within tolerance"
    assert not any(key["as_recorded"] for key in said.json["keys"])
    assert {"fact": "threads", "recorded": "1", "here": "2"} in said.json["changed"]


def test_tolerance_decides_what_is_different(type_: Type, work: Path, report: Path) -> None:
    said = type_(*again(report, work, "--lanes", 1, "--tolerance", 0, "--json"))

    assert said.code == 20, said.err


def test_only_some_effects_and_keys_are_computed(type_: Type, work: Path, report: Path) -> None:
    one = type_(*again(report, work, "--only", EFFECT, "--lanes", 1, "--json"))
    key = one.json["keys"][0]["key"]
    few = type_(*again(report, work, "--only", key[:12], "--lanes", 1, "--json"))
    none = type_(*again(report, work, "--only", "skip nobody"))

    assert {where.partition("]")[0] for where in by_where(one)} == {f"effects[{EFFECT}"}
    assert key in {own["key"] for own in few.json["keys"]}
    assert len(few.json["keys"]) < len(one.json["keys"])
    assert none.code == 7
    assert "skip nobody" in none.err


def test_an_effect_that_the_request_does_not_come_to_is_different(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    def relabel(signed: Report) -> Report:
        first, *others = signed.effects
        forged = first.model_copy(update={"intervention": "skip finetune"})
        return signed.model_copy(update={"effects": (forged, *others)})

    forged = resigned(report, relabel, tmp_path / "forged.json")
    said = type_(*again(forged, work, "--only", "skip finetune", "--lanes", 1, "--json"))

    assert said.code == 20, said.err
    assert said.json["outcome"] == "different"
    assert "effects[skip finetune on loss].value" in by_where(said)


def test_an_action_that_the_request_does_not_come_to_is_refused(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    def invent(signed: Report) -> Report:
        first, *others = signed.effects
        invented = first.model_copy(update={"action_keys": (*first.action_keys, "ab" * 32)})
        return signed.model_copy(update={"effects": (invented, *others)})

    forged = resigned(report, invent, tmp_path / "forged.json")
    said = type_(*again(forged, work, "--only", "abababab", "--lanes", 1))

    assert said.code == 7
    assert "ababab" in said.err


def test_without_the_model_its_binding_is_not_compared(
    type_: Type, work: Path, report: Path
) -> None:
    folders = ["--log", work / "log", "--data", work / "data"]
    said = type_("reproduce", report, *folders, "--json")

    assert (said.code, said.json["outcome"]) == (0, "identical"), said.err
    assert said.json["not_compared"] == ["model"]


def test_deleted_batches_and_data_are_named_and_the_report_still_verifies(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    shutil.copytree(work / "log", tmp_path / "log")
    log, _, blobs = read_log(tmp_path / "log")
    blobs.path(Digest(log.stages[1].batches or "")).unlink()

    said = type_("reproduce", report, "--log", tmp_path / "log", "--json")
    verified = type_("verify", report)

    assert said.code == 21, said.err
    assert said.json["outcome"] == "no longer reproducible"
    missing = " ".join(gone["what"] for gone in said.json["missing"])
    assert "batches of stage 'tune'" in missing
    assert "'heldout'" in missing
    assert "'clean'" in missing
    assert "stage 'base'" not in missing
    assert verified.code == 0


def test_redacted_log_says_what_was_taken_out(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    redacted = tmp_path / "redacted"
    type_("log", "redact", work / "log", redacted, "--drop", "source")

    said = type_("reproduce", report, "--log", redacted, "--data", work / "data")

    assert said.code == 21, said.err
    assert "redacted" in said.out
    assert "source" in said.out


def test_another_log_is_refused(type_: Type, work: Path, report: Path, tmp_path: Path) -> None:
    write_recorded_log(tmp_path / "other", stages=("base",))

    said = type_("reproduce", report, "--log", tmp_path / "other", "--data", work / "data")

    assert said.code == 4
    assert "--log" in said.err


def test_nothing_is_computed_before_the_signature_holds(
    type_: Type, work: Path, report: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.json"
    changed.write_bytes(report.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))

    said = type_(*again(changed, work))

    assert said.code in {3, 7}
    assert said.out == ""
