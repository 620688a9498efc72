"""Where a recorder writes: blobs and, at every boundary, the manifest."""

from pathlib import Path
from typing import Protocol, final, runtime_checkable

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, write_log
from auditor.edge.journal import JOURNAL_FILE, FolderJournal
from auditor.record.stage_journal import Journal
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog


class LogSink(Protocol):
    """A place for one log."""

    @property
    def blobs(self) -> BlobStore:
        """Where blobs go."""

    def write_manifest(self, log: StageLog) -> Digest:
        """Store the manifest in place of an earlier one and return the log's identity."""


@runtime_checkable
class JournalingSink(LogSink, Protocol):
    """A place that also keeps what is known of a stage that has not ended."""

    def journal(self) -> Journal:
        """Return the journal of the next stage."""


@final
class FolderSink:
    """A log folder; after a crash it holds a readable log up to the last boundary.

    ``recording.jsonl`` notes the steps of the open stage; ``stageaudit log recover`` reads it.

    Args:
        folder: Made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = FolderBlobs(folder / BLOBS_FOLDER)

    @property
    def blobs(self) -> BlobStore:
        """Where blobs go."""
        return self._blobs

    def write_manifest(self, log: StageLog) -> Digest:
        """Return the log's identity; the manifest replaces an earlier one."""
        return write_log(self.folder, log)

    def journal(self) -> FolderJournal:
        """Return the journal of the next stage.

        Raises:
            StageLogError: If the folder holds that of a stage that did not end.
        """
        return FolderJournal(self.folder / JOURNAL_FILE)
