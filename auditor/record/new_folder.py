"""A folder that is there in full, or not at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditor.edge.folder import cannot_write, fsync_folder, make_folders
from auditor.errors import ConflictError


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside the target, which becomes the target when the block ends well.

    Args:
        target: Absent or empty so far.

    Yields:
        Where to write; removed when the block fails or is interrupted.

    Raises:
        ConflictError: If the target holds something.
        ResourceError: If the disk is full.
        UnavailableError: If the folder cannot be written.
    """
    require_free(target)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        make_folders(partial)
        yield partial
        partial.rename(target)
        fsync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_free(target: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        ConflictError: If it is a file, or a folder that is not empty.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ConflictError(
            str(target),
            expected="an empty or new folder",
            found="a file" if target.is_file() else "files in it",
            remedy="Name another folder, or remove this one.",
        )
