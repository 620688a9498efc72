"""Audit a recorded log in this process: what `stageaudit audit --local` does.

Usage: python examples/audit_local.py LOGDIR DATADIR

LOGDIR is what `auditor.record.recorder` wrote, DATADIR an evaluation set of
`auditor.record.evalset_folder`. Results are kept in ./audit-cache: a second question about the same
log costs forward passes only. Needs the extra [server].
"""

import sys
from pathlib import Path

from auditor.audit.local import run_audit
from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs, read_log
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.effects import Better, Query, QueryKind
from auditor.errors import AuditorError
from auditor.estimators.subsampled_replay import SubsampledReplaySettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes

CACHE = Path("audit-cache")


def audit(log_folder: Path, data_folder: Path) -> Report:
    """Ask how the loss would be had each stage's updates not been executed."""
    blobs = LayeredBlobs(FolderBlobs(CACHE / "blobs"))
    log, _, recorded = read_log(log_folder)
    blobs.add(recorded)
    blobs.add(FolderBlobs(data_folder / BLOBS_FOLDER))

    request = AuditRequest(
        log=blobs.write(canonical_bytes(log)),
        interventions=tuple(Intervention(kind="skip", stage=stage.name) for stage in log.stages),
        queries=(
            Query(
                name="loss",
                kind=QueryKind.LOSS,
                better=Better.LOWER,
                data=blobs.write((data_folder / EVALSET_FILE).read_bytes()),
            ),
        ),
        estimator=SubsampledReplaySettings(fraction=0.5, replicas=8),
    )
    return run_audit(request, blobs=blobs, index=FolderIndex(CACHE / "results"), device="cpu")


def main(log_folder: Path, data_folder: Path) -> None:
    """Print every effect as a sentence, and what the figures do not say."""
    report = audit(log_folder, data_folder)
    for effect in report.effects:
        print(f"{effect.intervention}: {effect.known_value:+.4f} {effect.unit} ({effect.verdict})")
        print(f"  {effect.statement}")
    for limitation in report.limitations:
        print(f"note: {limitation.text}")


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except AuditorError as error:
        sys.exit(str(error))
