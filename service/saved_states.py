"""States of trajectories that are under way, in a folder of their own: ``<data folder>/saved``.

They are hints. Nothing but time is lost with any of them, or with the whole folder, so they are
kept apart from the blobs that audits rest on, and are removed once no pending action names them.
"""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import final

from auditor.edge.folder import FolderBlobs
from auditor.errors import ArtifactDigestError, ArtifactMissingError
from auditor.stagelog.digest import Digest

SAVED_FOLDER = "saved"


@final
class SavedStates:
    """The folder of saved states, written by workers and swept by the front end.

    Args:
        data_dir: The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = FolderBlobs(data_dir / SAVED_FOLDER)
        self._suspects: frozenset[Path] = frozenset()

    def write(self, data: bytes) -> Digest:
        """Return the digest of a state, stored durably.

        Raises:
            ResourceError: If the disk is full.
            UnavailableError: If the folder cannot be written.
        """
        return self._folder.write(data)

    def read(self, digest: Digest) -> memoryview | None:
        """Return a state; None if it is gone or damaged, and then it can be written again."""
        try:
            return self._folder.read(digest)
        except ArtifactMissingError:
            return None
        except ArtifactDigestError:
            with contextlib.suppress(OSError):
                self._folder.path(digest).unlink()
            return None

    def sweep(self, wanted: Collection[Digest]) -> int:
        """Remove what was not wanted in the last sweep either, and return how many files that were.

        Twice, because a worker tells of a state after it has written it.
        """
        files = (self._folder.root / "sha256").glob("[0-9a-f][0-9a-f]/*")
        unwanted = frozenset(path for path in files if path.name not in wanted)
        old = unwanted & self._suspects
        for path in old:
            with contextlib.suppress(OSError):
                path.unlink()
        self._suspects = unwanted - old
        return len(old)
