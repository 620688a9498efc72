"""Which actions are finished, in a folder: what lets a second local audit reuse the first."""

from pathlib import Path
from secrets import token_hex
from typing import final

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
        """Remember the result of an action.

        Not synchronised with the disk: an entry that is lost or damaged only costs its action.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{token_hex(4)}")
        temporary.write_text(digest, encoding="ascii")
        temporary.replace(path)

    def _path(self, key: ActionKey) -> Path:
        return self._root / key[:2] / key
