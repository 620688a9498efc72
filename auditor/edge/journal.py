"""A file that only grows: what a recorder notes of a stage while it trains."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, final

from auditor.edge.folder import cannot_write, fsync_folder, make_folders
from auditor.errors import StageLogError

JOURNAL_FILE = "recording.jsonl"
"""What a log folder holds while a stage is open, and after a crash."""


@final
class FolderJournal:
    """JSON lines in one file, usable by several threads.

    A line that was appended survives the death of the process, and after :meth:`sync` that of the
    machine. A line that was only half written is recognised by :func:`read_journal`.

    Args:
        path: The file; it must not exist.

    Raises:
        StageLogError: If it does: it belongs to a recording that did not end.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise StageLogError(
                str(path),
                expected="no recording that did not end",
                found="one",
                remedy=f"Run `stageaudit log recover {path.parent}` first, or record into another "
                "folder.",
            )
        self._path = path
        self._lock = Lock()
        self._descriptor: int | None = None
        self._broken = False

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line; NaN and infinity are allowed.

        Raises:
            ResourceError: If the disk is full.
            UnavailableError: If the file cannot be written.
        """
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._broken:
                return  # a line after a torn one would be lost anyway; the first error was raised
            try:
                if self._descriptor is None:
                    self._descriptor = self._create()
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError as error:
                self._broken = True
                raise cannot_write(self._path, error) from error

    def sync(self) -> None:
        """Make everything that was appended durable."""
        with self._lock:
            if self._descriptor is not None:
                try:
                    os.fsync(self._descriptor)
                except OSError as error:
                    raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """Keep the file as it is."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
                self._broken = True

    def discard(self) -> None:
        """Remove the file: the log holds what it noted."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            fsync_folder(self._path.parent)

    def _create(self) -> int:
        make_folders(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o644)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal up to the first that is not whole; none if there is no file."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.split(b"\n")[:-1]:  # what follows the last newline was cut off
        try:
            value = json.loads(line)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        yield value
