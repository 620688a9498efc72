"""``stageaudit log``: what it prints and the exit code it leaves with."""

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.edge.folder import LOG_FILE, FolderBlobs, read_log, write_log
from auditor.stagelog.digest import Digest
from service.cli.main import run
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.forgery import with_columns


def leave(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedRun:
    return make_stage_log(stages=2, folder=tmp_path)


def output(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_inspect_needs_the_manifest_only(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone"
    write_log(alone, recorded.log)

    assert leave("log", "inspect", alone, "--json") == 0

    summary = output(capsys)
    assert summary["digest"] == recorded.digest
    assert summary["parameters"] == 43
    assert [stage["name"] for stage in summary["stages"]] == ["stage0", "stage1"]
    assert summary["not_treated"] is None


def test_inspect_says_what_is_not_treated(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = recorded.log.stages[0].model_copy(update={"precision": "bfloat16"})
    log = recorded.log.model_copy(update={"stages": (stage, *recorded.log.stages[1:])})
    write_log(tmp_path, log)

    assert leave("log", "inspect", tmp_path) == 0

    assert "cannot be replayed: stages[0].precision" in capsys.readouterr().out


def test_check_reports_what_passed(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("log", "check", tmp_path, "--json") == 0

    result = output(capsys)
    assert len(result["passed"]) == 2
    assert (result["segments"], result["consistent"]) == ([], None)


def test_check_with_replay_says_what_a_replay_means(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("log", "check", tmp_path, "--replay") == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "The 4 replayed segments reproduce the recorded checkpoints" in text
    assert "a forger who recomputes are not excluded" in text


def test_replay_that_ends_elsewhere_fails(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(columns: dict[str, Any]) -> None:
        columns["lr"][2, 0] *= 1.5

    write_log(tmp_path, with_columns(recorded, 1, change).log)

    assert leave("log", "check", tmp_path, "--replay", "--json") == 1

    result = output(capsys)
    assert [s["verdict"] for s in result["segments"]] == ["consistent", "inconsistent"]


def test_damaged_blob_is_refused_input(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, blobs = read_log(tmp_path)
    assert isinstance(blobs, FolderBlobs)
    path = blobs.path(Digest(recorded.log.start.parameters))
    path.unlink()
    path.write_bytes(b"damaged")

    assert leave("log", "check", tmp_path) == 7

    assert "Restore the file" in capsys.readouterr().err


def test_reformatted_manifest_is_refused_input(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / LOG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))

    assert leave("log", "inspect", tmp_path) == 7

    assert "canonical JSON" in capsys.readouterr().err


def test_names_from_a_log_are_no_markup(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = recorded.log.run.model_copy(update={"name": "[red]run[/red]"})
    write_log(tmp_path, recorded.log.model_copy(update={"run": name}))

    assert leave("log", "inspect", tmp_path) == 0

    assert "[red]run[/red]" in capsys.readouterr().out


def test_sample_of_segments_says_how_likely_it_finds_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_stage_log(stages=2, cadence_steps=2, folder=tmp_path)

    assert leave("log", "check", tmp_path, "--replay", "--sample", "0.3", "--json") == 0

    result = output(capsys)
    assert [(s["checkpoints"], s["segments"]) for s in result["segments"]] == [(1, 3), (1, 3)]
    assert "2 of 6 segments" in result["statement"]
    assert "probability 0.33 or more" in result["statement"]


def test_sample_without_replay_is_refused(recorded: RecordedRun, tmp_path: Path) -> None:
    assert leave("log", "check", tmp_path, "--sample", "0.3") == 7


def test_redact_says_what_is_left_and_what_is_not(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert leave("log", "redact", tmp_path, out, "--sample", "10", "--json") == 0

    said = output(capsys)
    assert (said["level_before"], said["level"]) == (2, 1)
    assert said["redacted_from"] == recorded.digest
    assert any("log consistency" in question for question in said["no_longer_answers"])
    assert leave("log", "check", out) == 0
    assert leave("log", "inspect", out) == 0
    assert "this log was redacted" in capsys.readouterr().out


def test_redact_makes_a_secret_key(recorded: RecordedRun, tmp_path: Path) -> None:
    key = tmp_path / "key"
    assert leave("log", "redact", tmp_path, tmp_path / "out", "--hash-key", key) == 0

    assert len(key.read_bytes()) == 32
    assert key.stat().st_mode & 0o077 == 0
    assert leave("log", "check", tmp_path / "out", "--replay") == 7


def test_redact_does_not_write_over_a_log(recorded: RecordedRun, tmp_path: Path) -> None:
    assert leave("log", "redact", tmp_path, tmp_path, "--sample", "10") == 7


def test_estimate_from_a_number_of_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "log", "estimate", "--parameters", "1e6", "--steps", "1000", "--steps", "500", "--batch",
        "32", "--examples", "20000", "--example-bytes", "100",
    )  # fmt: skip

    assert leave(*arguments, "--step-seconds", "0.1", "--json") == 0

    said = output(capsys)
    # The start, and a witness and a boundary with two moments for each stage.
    assert said["checkpoint_bytes"] == pytest.approx(4e6 * (1 + 4 * 3), rel=0.01)
    assert said["data_bytes"] == 2 * 20_000 * 100
    assert said["check_hours"] == pytest.approx(2 * 150 / 3600)
    assert leave(*arguments) == 0
    assert "memory" in capsys.readouterr().out


def test_estimate_from_a_checkpoint(
    recorded: RecordedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = FolderBlobs(tmp_path / "blobs").path(Digest(recorded.log.start.parameters))
    options = ("--steps", "10", "--batch", "2", "--examples", "20", "--example-bytes", "10")

    assert leave("log", "estimate", "--parameters", path, *options, "--json") == 0

    of_file = output(capsys)
    assert leave("log", "estimate", "--parameters", "86", "--tensors", "4", *options, "--json") == 0
    assert output(capsys) == of_file  # 43 numbers of float64 in four tensors
    assert leave("log", "estimate", "--parameters", "none", *options) == 7
