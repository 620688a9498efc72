"""Small files, written whole or not at all, and on disk when the call returns."""

import os
import secrets
from pathlib import Path


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that does not exist yet.

    Raises:
        FileExistsError: If it does.
        OSError: If it cannot be written.
    """
    temporary = _write_temporary(path, data, mode=mode)
    try:
        os.link(temporary, path)  # fails when the name is taken, unlike a rename
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def replace(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file, replacing what was there.

    Raises:
        OSError: If it cannot be written.
    """
    _write_temporary(path, data, mode=mode).replace(path)
    _sync_folder(path.parent)


def _write_temporary(path: Path, data: bytes, *, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
