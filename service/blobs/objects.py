"""The service's blob store: the durable folder, with quarantine and metrics around it."""

import hashlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import final

from auditor.edge.folder import FolderBlobs
from auditor.errors import ArtifactDigestError, ArtifactMissingError, InputError
from auditor.stagelog.digest import Digest
from service.metrics import Metrics

QUARANTINE = "quarantine"


@final
class Objects:
    """A BlobStore that sets corrupt blobs aside, so that sending them again repairs the store.

    Args:
        root: The data folder, which holds ``sha256/``.
        metrics: Counts corruptions and free space.
    """

    def __init__(self, root: Path, *, metrics: Metrics) -> None:
        self._folder = FolderBlobs(root)
        self._metrics = metrics
        self.observe_free_space()

    def path(self, digest: Digest) -> Path:
        """Return where a blob lies, whether or not it is there."""
        return self._folder.path(digest)

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is stored."""
        return self._folder.has(digest)

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes.

        Raises:
            ArtifactMissingError: If it is not stored.
        """
        return self._folder.size(digest)

    def read(self, digest: Digest) -> memoryview:
        """Return the whole blob as a read-only buffer, checked against its digest.

        Raises:
            ArtifactMissingError: If it is not stored.
            ArtifactDigestError: If the stored bytes differ from the digest.
        """
        try:
            return self._folder.read(digest)
        except ArtifactDigestError:
            self.quarantine(digest)
            raise

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        """Return the digest of the bytes, stored durably; storing twice is harmless.

        Raises:
            ResourceError: If the disk is full.
            UnavailableError: If the folder cannot be written.
        """
        return self._folder.write(data)

    def chunks(
        self, digest: Digest, *, offset: int, limit: int, chunk_bytes: int
    ) -> Generator[bytes, None, None]:
        """Yield a blob's bytes ``[offset, offset + limit)`` at constant memory.

        The whole blob is checked while it is read: a reader of all of it gets the last chunk only
        if the digest is right. A part is sent as it is stored.

        Args:
            digest: The blob.
            offset: First byte.
            limit: Number of bytes; 0 reads to the end.
            chunk_bytes: Most bytes of a chunk.

        Yields:
            The chunks in their order.

        Raises:
            ArtifactMissingError: If it is not stored.
            ArtifactDigestError: If the stored bytes differ from the digest.
            InputError: If the range is not inside the blob.
        """
        size = self.size(digest)
        end = size if limit == 0 else offset + limit
        if not 0 <= offset <= end <= size:
            raise InputError(
                "read_offset",
                expected=f"a range inside [0, {size}]",
                found=f"[{offset}, {end}]",
                remedy="Ask for bytes inside the blob, or read_limit 0 for all that follow.",
            )
        whole = offset == 0 and end == size
        hasher = hashlib.sha256()
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _vanished(digest) from error
        try:
            while offset < end:
                data = os.pread(descriptor, min(chunk_bytes, end - offset), offset)
                offset += len(data)
                if whole:
                    hasher.update(data)
                damaged = not data or (whole and offset == end and hasher.hexdigest() != digest)
                if damaged:
                    self.quarantine(digest)
                    raise _corrupt(digest)
                yield data
        finally:
            os.close(descriptor)

    def quarantine(self, digest: Digest) -> None:
        """Set a corrupt blob aside; from now on it counts as missing."""
        source = self.path(digest)
        target = self._folder.root / QUARANTINE / digest
        target.parent.mkdir(exist_ok=True)
        try:
            source.replace(target)
        except FileNotFoundError:  # another reader was first
            return
        self._metrics.blob_corruptions.inc()

    def observe_free_space(self) -> None:
        """Measure how much more the store can hold."""
        stat = os.statvfs(self._folder.root)
        self._metrics.store_free_bytes.labels(store="blobs").set(stat.f_bavail * stat.f_frsize)
        self._metrics.store_size_bytes.labels(store="blobs").set(stat.f_blocks * stat.f_frsize)


def _vanished(digest: Digest) -> ArtifactMissingError:
    return ArtifactMissingError(
        f"blob {digest}", expected="a stored blob", found="none", remedy="Send it again."
    )


def _corrupt(digest: Digest) -> ArtifactDigestError:
    return ArtifactDigestError(
        f"blob {digest}",
        expected="bytes with this SHA-256",
        found="other bytes",
        remedy="Send the blob again; the damaged file was moved to quarantine/.",
    )
