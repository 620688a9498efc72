"""Keep logs and reports with the runs of Weights & Biases; needs ``[wandb]``."""

from pathlib import Path

from auditor.checks import needs_extra
from auditor.edge.folder import read_log
from auditor.stagelog.digest import Digest, sha256

with needs_extra("wandb", purpose="recording with wandb"):
    from wandb import Artifact, Run

LOG_KEY = "stageaudit/log"
"""Key of a run's summary: the identity of its stage log."""
REPORT_KEY = "stageaudit/report"
"""Key of a run's summary: the SHA-256 of the report about it that was kept last."""


def keep_log(run: Run, folder: Path, *, name: str = "stage-log") -> Digest:
    """Return the identity of a stage log that is now an artifact of a run, which names it.

    Args:
        run: The run that recorded it, online or offline.
        folder: The log.
        name: Name of the artifact.

    Raises:
        StageLogError: If the folder holds no log.
    """
    _, identity, _ = read_log(folder)
    artifact = Artifact(name, type="stage-log", metadata={"log": identity})
    artifact.add_dir(str(folder))
    run.log_artifact(artifact)
    run.summary[LOG_KEY] = identity
    return identity


def keep_report(run: Run, report: Path, *, log: Digest, name: str = "stage-report") -> Digest:
    """Return the SHA-256 of a report's file that is now an artifact of the run it is about.

    Args:
        run: The run whose log was audited.
        report: The signed bundle, or the page.
        log: Identity of that log.
        name: Name of the artifact.
    """
    digest = sha256(report.read_bytes())
    artifact = Artifact(name, type="stage-report", metadata={"log": log, "report": digest})
    artifact.add_file(str(report))
    run.log_artifact(artifact)
    run.summary[REPORT_KEY] = digest
    return digest
