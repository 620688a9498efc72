"""``examples/verify_report.py`` does what the verify page says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.house import ROOT
from tests.support.reports import LOG_BYTES, MODEL_BYTES, make_signed


def run_example(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "verify_report.py"), *map(str, arguments)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    signed = make_signed()
    contents = {
        "report.sigstore.json": signed.bundle,
        "signer.pub.pem": signed.pair.public_pem.encode(),
        "stagelog.json": LOG_BYTES,
        "model.safetensors": MODEL_BYTES,
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in contents]


def test_example_prints_effects_and_limitations(files: list[Path]) -> None:
    result = run_example(*files)

    assert (result.returncode, result.stderr) == (0, "")
    assert "model.safetensors: matches" in result.stdout
    assert "skip vendor: cue +0.250 (+0.125 to +0.375) probability" in result.stdout
    assert "note: This is a statement about computation." in result.stdout


def test_example_refuses_an_altered_model(files: list[Path]) -> None:
    files[-1].write_bytes(b"another model")

    result = run_example(*files)

    assert result.returncode == 1
    assert result.stderr.startswith("not verified: file model.safetensors")
