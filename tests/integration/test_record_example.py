"""The recording example runs as its text says, and the command line checks what it wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.edge.folder import EVALSET_FILE
from auditor.stagelog.evaluation import parse_evaluation_set
from tests.support.house import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("example") / "log"
    result = python(str(ROOT / "examples" / "record_run.py"), str(target))
    assert result.returncode == 0, result.stderr
    return target


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def stageaudit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-c", "from service.cli.main import run; run()", *arguments)


def test_example_log_replays(folder: Path) -> None:
    result = stageaudit("log", "check", str(folder), "--replay", "--json")

    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["level"], found["consistent"]) == (2, True)
    assert [s["verdict"] for s in found["segments"]] == ["consistent", "consistent"]


def test_example_log_is_shown_to_people(folder: Path) -> None:
    result = stageaudit("log", "inspect", str(folder))

    assert result.returncode == 0, result.stderr
    for text in ("example", "pretrain", "finetune", "bought", "level 2", "40-80"):
        assert text in result.stdout


def test_example_evaluation_set_is_valid(folder: Path) -> None:
    data = (folder / "held-out" / EVALSET_FILE).read_bytes()

    assert parse_evaluation_set(data).dataset.examples == 64
