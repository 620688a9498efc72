"""Logs and reports as artifacts of MLflow and Weights & Biases runs, without a network."""

from pathlib import Path
from typing import Any

import pytest

from auditor.edge.folder import read_log
from auditor.stagelog.digest import sha256
from tests.support.builders import make_stage_log

pytestmark = [
    # Of MLflow and wandb about themselves.
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*"),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log folder."""
    make_stage_log(stages=1, folder=tmp_path / "log")
    return tmp_path / "log"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """Return a file that stands for a report."""
    path = tmp_path / "report.sigstore.json"
    path.write_text("{}")
    return path


def test_mlflow_run_keeps_log_and_report_and_names_both(
    tmp_path: Path, log: Path, report: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a server of files: no other process
    from mlflow.tracking import MlflowClient

    from auditor.record.adapters.mlflow import LOG_TAG, REPORT_TAG, keep_log, keep_report

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    run = client.create_run(client.create_experiment("training")).info.run_id

    identity = keep_log(client, run, log)
    digest = keep_report(client, run, report)

    _, expected, _ = read_log(log)
    tags = client.get_run(run).data.tags
    assert (identity, tags[LOG_TAG]) == (expected, expected)
    assert (digest, tags[REPORT_TAG]) == (sha256(b"{}"), sha256(b"{}"))
    copied = Path(client.download_artifacts(run, "stageaudit/log", str(tmp_path)))
    assert read_log(copied)[1] == expected
    assert [a.path for a in client.list_artifacts(run, "stageaudit/reports")] == [
        "stageaudit/reports/report.sigstore.json"
    ]


def test_wandb_offline_run_keeps_log_and_report_and_names_both(
    tmp_path: Path, log: Path, report: Path, monkeypatch: Any
) -> None:
    import wandb

    from auditor.record.adapters.wandb import LOG_KEY, REPORT_KEY, keep_log, keep_report

    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    with wandb.init(project="p", mode="offline", dir=str(tmp_path), settings=settings) as run:
        identity = keep_log(run, log)
        digest = keep_report(run, report, log=identity)
        summary = {LOG_KEY: run.summary[LOG_KEY], REPORT_KEY: run.summary[REPORT_KEY]}

    _, expected, _ = read_log(log)
    assert summary == {LOG_KEY: expected, REPORT_KEY: sha256(b"{}")}
    assert digest == sha256(b"{}")
    written = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(written) == 1
    assert expected.encode() in written[0].read_bytes()
