"""Blobs and logs in a folder.

A blob lies at ``<root>/sha256/<first two characters>/<digest>``, read-only. A log is a folder
with ``stagelog.json`` and its blobs under ``blobs/``; an evaluation set has ``evalset.json``.
"""

import contextlib
import errno
import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import final

from auditor.errors import (
    ArtifactDigestError,
    ArtifactMissingError,
    InputError,
    ResourceError,
    UnavailableError,
)
from auditor.stagelog.digest import Digest, canonical_bytes, parse_digest, sha256
from auditor.stagelog.log import StageLog

LOG_FILE = "stagelog.json"
EVALSET_FILE = "evalset.json"
BLOBS_FOLDER = "blobs"


@final
class FolderBlobs:
    """A BlobStore in a folder: what ``write`` returned survives a crash of the machine.

    Args:
        root: The folder that holds ``sha256/``; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Return where a blob lies, whether or not it is there.

        Raises:
            InputError: If ``digest`` is none: a name never becomes a path unchecked.
        """
        checked = parse_digest(digest, where="blob")
        return self.root / "sha256" / checked[:2] / checked

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is stored."""
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes.

        Raises:
            ArtifactMissingError: If it is not stored.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise _missing(digest) from error

    def read(self, digest: Digest) -> memoryview:
        """Return the whole blob as a read-only memory map, checked against its digest.

        Raises:
            ArtifactMissingError: If it is not stored.
            ArtifactDigestError: If the stored bytes differ from the digest.
        """
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise _missing(digest) from error
        data = _mapped(descriptor)
        if sha256(data) != digest:
            raise ArtifactDigestError(
                f"blob {digest}",
                expected="bytes with this SHA-256",
                found="other bytes",
                remedy="Restore the file from a copy or record it again.",
            )
        return data

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        """Return the digest of the bytes, stored durably; storing twice is harmless.

        Raises:
            ResourceError: If the disk is full.
            UnavailableError: If the folder cannot be written.
        """
        digest = sha256(data)
        target = self.path(digest)
        if not target.is_file():
            write_durably(target, data, mode=0o440)
        return digest

    def digests(self) -> Iterator[Digest]:
        """Yield the digests of all stored blobs, in order."""
        for path in sorted((self.root / "sha256").glob("[0-9a-f][0-9a-f]/*")):
            if len(path.name) == 64:
                yield Digest(path.name)


def map_file(path: Path) -> memoryview:
    """Return a whole file as a read-only memory map.

    Raises:
        ArtifactMissingError: If it cannot be read.
    """
    try:
        return _mapped(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise ArtifactMissingError(
            str(path), expected="a readable file", found=error.strerror, remedy="Check the path."
        ) from error


def _mapped(descriptor: int) -> memoryview:
    """Map an open file and close it."""
    try:
        # An empty file cannot be mapped.
        empty = os.fstat(descriptor).st_size == 0
        return memoryview(b"" if empty else mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


def write_durably(target: Path, data: bytes | bytearray | memoryview, *, mode: int) -> None:
    """Write a file so that after a crash it is there in full, or not at all.

    Raises:
        ResourceError: If the disk is full.
        UnavailableError: If the folder cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        make_folders(target.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with memoryview(data).cast("B") as view:
                written = 0
                while written < len(view):
                    # Linux writes at most 2 GiB a call.
                    written += os.write(descriptor, view[written : written + 2**30])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
        fsync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(target, error) from error


def read_log(folder: Path) -> tuple[StageLog, Digest, FolderBlobs]:
    """Read a log folder's manifest; blobs are read when they are needed.

    Returns:
        The log, its identity, and the store of its blobs.

    Raises:
        ArtifactMissingError: If there is no manifest.
        StageLogError: If the manifest is not valid.
        InputError: If the manifest is not in its canonical form, so that its identity is unclear.
    """
    from auditor.stagelog.validate import parse_manifest  # noqa: PLC0415 - validate needs no folder

    data = read_file(folder / LOG_FILE, remedy="Pass the folder that the recorder wrote.")
    log = parse_manifest(data)
    digest = sha256(canonical_bytes(log))
    if digest != sha256(data):
        raise InputError(
            str(folder / LOG_FILE),
            expected="canonical JSON (RFC 8785)",
            found="the same content in another form",
            remedy="Do not reformat the manifest: its bytes are the log's identity.",
        )
    return log, digest, FolderBlobs(folder / BLOBS_FOLDER)


def write_log(folder: Path, log: StageLog) -> Digest:
    """Return the identity of the log whose manifest is written, replacing an earlier one.

    Raises:
        ResourceError: If the disk is full.
        UnavailableError: If the folder cannot be written.
    """
    data = canonical_bytes(log)
    write_durably(folder / LOG_FILE, data, mode=0o644)
    return sha256(data)


def read_file(path: Path, *, remedy: str) -> bytes:
    """Return a file's content.

    Args:
        path: The file.
        remedy: What to do where it is missing.

    Raises:
        ArtifactMissingError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactMissingError(
            str(path),
            expected="a readable file",
            found=error.strerror,
            remedy=remedy,
        ) from error


def make_folders(folder: Path) -> None:
    """Make a folder and its parents; each new one is durable in its parent."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _missing(digest: Digest) -> ArtifactMissingError:
    return ArtifactMissingError(
        f"blob {digest}",
        expected="a stored blob",
        found="none",
        remedy="Push the log again or pass the folder that holds its blobs.",
    )


def cannot_write(target: Path, error: OSError) -> ResourceError | UnavailableError:
    """Return the error of a file that could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return ResourceError(
            str(target), expected="free disk space", found=error.strerror, remedy="Free some space."
        )
    return UnavailableError(
        str(target),
        expected="a writable folder",
        found=error.strerror,
        remedy="Check the path and its permissions.",
    )
