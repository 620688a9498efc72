"""Where the reader's own copies are found: folders of logs, of evaluation data, of blobs, files."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.edge.layered import LayeredBlobs
from auditor.errors import InputError, SubjectError
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import StageLog
from service.cli.evaluation_folder import is_evaluation_folder, open_evaluation_set

REDACTED = "redacted"


@final
class OwnCopies:
    """Puts the reader's files where a reproduction reads.

    Args:
        blobs: Receives them.
        scratch: Where an ``.npz`` becomes a folder.
    """

    def __init__(self, blobs: LayeredBlobs, *, scratch: Path) -> None:
        self._blobs, self._scratch = blobs, scratch

    def log(self, folder: Path) -> tuple[StageLog, Digest]:
        """Read a log folder, with the evaluation data that lie in it."""
        log, digest, blobs = read_log(folder)
        self._blobs.add(blobs)
        self._blobs.write(canonical_bytes(log))
        self._folders_in(folder)
        return log, digest

    def data(self, paths: Sequence[Path]) -> None:
        """Take what ``--data`` names: evaluation data, a folder of them or of blobs, or a file.

        Raises:
            InputError: If a path does not exist or is none of these.
        """
        for path in paths:
            if path.is_file() and path.suffix != ".npz":
                self._blobs.write(path.read_bytes())
            elif path.is_file() or is_evaluation_folder(path):
                self._evaluation_set(path)
            elif not self._folders_in(path):
                raise InputError(
                    f"--data {path}",
                    expected="an evaluation set, a folder of them, a folder of blobs, or a file",
                    found="none of these" if path.exists() else "nothing",
                    remedy="Pass what the audit was asked with, or a service's data folder.",
                )

    def model(self, path: Path) -> None:
        """Take a model file."""
        self._blobs.write(path.read_bytes())

    def _evaluation_set(self, path: Path) -> None:
        found = open_evaluation_set(path, scratch=self._scratch)
        self._blobs.add(found.blobs)
        self._blobs.write(found.manifest)

    def _folders_in(self, folder: Path) -> int:
        """Add the evaluation data and blobs of a folder; return how many places that are."""
        sets = [path for path in sorted(folder.glob("*/")) if is_evaluation_folder(path)]
        for path in sets:
            self._evaluation_set(path)
        stores = [path for path in (folder, folder / BLOBS_FOLDER) if (path / "sha256").is_dir()]
        for path in stores:
            self._blobs.add(FolderBlobs(path))
        return len(sets) + len(stores)


def require_same_log(report: Report, log: StageLog, digest: Digest) -> None:
    """Refuse a log that the report is not about; one redacted from it is told apart.

    Raises:
        SubjectError: If it is another log.
    """
    if digest == report.log.digest or is_redacted(report, log):
        return
    raise SubjectError(
        "--log",
        expected=f"the log that the report is about, {report.log.digest}",
        found=digest,
        remedy="Pass the folder of the audited log: `stageaudit log inspect` shows its digest.",
    )


def is_redacted(report: Report, log: StageLog) -> bool:
    """Say whether a log is a redacted copy of the one that a report is about."""
    origin = log.origin
    return origin is not None and origin.kind == REDACTED and origin.log == report.log.digest
