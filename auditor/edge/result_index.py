"""Which actions are finished, in a folder: what lets a second local audit reuse the first."""

from pathlib import Path
from typing import final

from auditor.edge.folder import write_durably
from auditor.errors import InputError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest, parse_digest


@final
class FolderIndex:
    """A ResultIndex of one small file an action, named by its key.

    Args:
        root: The folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: ActionKey) -> Digest | None:
        """Return the result of a finished action, or None; a damaged entry counts as none."""
        try:
            text = self._path(key).read_text(encoding="ascii")
            return parse_digest(text, where=f"results/{key}")
        except (FileNotFoundError, UnicodeDecodeError, InputError):
            return None

    def put(self, key: ActionKey, digest: Digest) -> None:
        """Remember the result of an action; a crash leaves the old entry or the new one."""
        write_durably(self._path(key), digest.encode("ascii"), mode=0o640)

    def _path(self, key: ActionKey) -> Path:
        return self._root / key[:2] / key
