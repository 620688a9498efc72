"""Keep logs and reports with the runs of MLflow; needs ``[mlflow]``."""

from pathlib import Path

from auditor.checks import needs_extra
from auditor.edge.folder import read_log
from auditor.stagelog.digest import Digest, sha256

with needs_extra("mlflow", purpose="recording with mlflow"):
    from mlflow.tracking import MlflowClient

LOG_TAG = "stageaudit.log"
"""Tag of a run: the identity of its stage log."""
REPORT_TAG = "stageaudit.report"
"""Tag of a run: the SHA-256 of the report about it that was kept last."""

FOLDER = "stageaudit"
"""Folder of the run's artifacts."""


def keep_log(client: MlflowClient, run_id: str, folder: Path) -> Digest:
    """Return the identity of a stage log that is now an artifact of a run, which names it.

    Args:
        client: Of the tracking server.
        run_id: The run that recorded it.
        folder: The log.

    Raises:
        StageLogError: If the folder holds no log.
    """
    _, identity, _ = read_log(folder)
    client.log_artifacts(run_id, str(folder), f"{FOLDER}/log")
    client.set_tag(run_id, LOG_TAG, identity)
    return identity


def keep_report(client: MlflowClient, run_id: str, report: Path) -> Digest:
    """Return the SHA-256 of a report's file that is now an artifact of the run it is about.

    Args:
        client: Of the tracking server.
        run_id: The run whose log was audited.
        report: The signed bundle, or the page.
    """
    digest = sha256(report.read_bytes())
    client.log_artifact(run_id, str(report), f"{FOLDER}/reports")
    client.set_tag(run_id, REPORT_TAG, digest)
    return digest
