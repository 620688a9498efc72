"""Where a recorder writes: blobs and, at every boundary, the manifest."""

from pathlib import Path
from typing import Protocol, final

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, write_log
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


@final
class FolderSink:
    """A log folder; after a crash it holds a readable log up to the last boundary.

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
