"""The data folder: made, locked, and marked with where its service listens."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from auditor.edge.clock import Clock
from auditor.errors import ConflictError, UnavailableError
from service.config import ServiceConfig
from service.durable_files import replace, write_new
from service.ulid import new_ulid

LOCK_FILE = "lock"
FOLDER_MODE = 0o700


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a service listens."""

    address: str
    metrics_address: str
    pid: int


@contextmanager
def held_data_dir(config: ServiceConfig) -> Iterator[None]:
    """Make the folders and keep other services out of them.

    Yields:
        Nothing; the folder is this process's until the block ends.

    Raises:
        ConflictError: If another service has the folder.
        UnavailableError: If it cannot be written.
    """
    try:
        for folder in (config.data_dir, config.uploads_dir, config.blobs_root):
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(
            config.data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise UnavailableError(
            str(config.data_dir),
            expected="a data folder that can be written",
            found=error.strerror,
            remedy="Correct its permissions, or choose another --data-dir.",
        ) from error
    try:
        _lock(descriptor, config.data_dir)
        yield
    finally:
        os.close(descriptor)  # ends the lock, as the end of the process would


def front_end_name(config: ServiceConfig, *, clock: Clock) -> str:
    """Return this service's name among those that share a database, made at the first start.

    It outlives a restart: by it a service knows the leases of its earlier life.

    Raises:
        UnavailableError: If the folder cannot be written.
    """
    path = config.front_end_path
    try:
        if not path.is_file():
            write_new(path, f"{new_ulid(clock.now())}\n".encode(), mode=0o644)
        return path.read_text().strip()
    except OSError as error:
        raise UnavailableError(
            str(path),
            expected="a file that can be written",
            found=error.strerror,
            remedy="Correct the permissions of the data folder.",
        ) from error


def uploads_folder(config: ServiceConfig, *, front_end: str) -> Path:
    """Return where unfinished uploads lie, made if need be, on the file system of the blobs.

    Services that share the blobs have a folder each: two may not write to one file.
    """
    if config.blobs_dir is None:
        return config.uploads_dir
    folder = config.blobs_dir / f"uploads-{front_end}"
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder


def write_address(config: ServiceConfig, address: Address) -> None:
    """Tell clients of this machine where the service is."""
    text = json.dumps(asdict(address), sort_keys=True) + "\n"
    replace(config.server_path, text.encode(), mode=0o644)


def remove_address(config: ServiceConfig) -> None:
    """Tell clients that no service is there."""
    config.server_path.unlink(missing_ok=True)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConflictError(
            str(folder),
            expected="a data folder that no other service uses",
            found="one that is in use",
            remedy="Stop the other service, or choose another --data-dir.",
        ) from error
