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

SWEEPS = 2
"""Sweeps in a row that find a state unwanted: a worker tells of one after it has written it."""
UNFINISHED_SWEEPS = 60
"""The same for a file that is being written, or was when its worker was killed: an hour."""


@final
class SavedStates:
    """The folder of saved states, written by workers and swept by the front end.

    Args:
        data_dir: The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = FolderBlobs(data_dir / SAVED_FOLDER)
        self._unwanted: dict[Path, int] = {}

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
        """Remove what has not been wanted for some sweeps, and return how many files that were."""
        files = (self._folder.root / "sha256").glob("[0-9a-f][0-9a-f]/*")
        unwanted = {
            path: self._unwanted.get(path, 0) + 1 for path in files if path.name not in wanted
        }
        old = [path for path, sweeps in unwanted.items() if sweeps >= _patience(path)]
        for path in old:
            with contextlib.suppress(OSError):
                path.unlink()
            del unwanted[path]
        self._unwanted = unwanted
        return len(old)


def _patience(path: Path) -> int:
    """Return after how many sweeps an unwanted file goes: one without its name yet has a dot."""
    return UNFINISHED_SWEEPS if path.name.startswith(".") else SWEEPS
