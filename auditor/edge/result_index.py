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

    It holds the result and, unless an earlier version wrote it, the record of the group.

    Args:
        root: The folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: ActionKey) -> Digest | None:
        """Return the result of a finished action, or None; a damaged entry counts as none."""
        return next(iter(self._entry(key)), None)

    def execution(self, key: ActionKey) -> Digest | None:
        """Return the record of the group that a finished action ran in, or None."""
        entry = self._entry(key)
        return entry[1] if len(entry) > 1 else None

    def put(self, key: ActionKey, digest: Digest, *, execution: Digest | None = None) -> None:
        """Remember the result of an action and the record of its group.

        Not synchronised with the disk: an entry that is lost or damaged only costs its action.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{token_hex(4)}")
        entry = digest if execution is None else f"{digest} {execution}"
        temporary.write_text(entry, encoding="ascii")
        temporary.replace(path)

    def _entry(self, key: ActionKey) -> tuple[Digest, ...]:
        try:
            words = self._path(key).read_text(encoding="ascii").split()
            return tuple(parse_digest(word, where=f"results/{key}") for word in words)
        except (FileNotFoundError, UnicodeDecodeError, InputError):
            return ()

    def _path(self, key: ActionKey) -> Path:
        return self._root / key[:2] / key
