"""Where bytes live: a store that names every blob by its SHA-256."""

from typing import Protocol

from auditor.stagelog.digest import Digest


class BlobStore(Protocol):
    """Content-addressed bytes. Reads verify the digest; writes are idempotent and durable."""

    def has(self, digest: Digest) -> bool:
        """Say whether the blob is stored."""

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes.

        Raises:
            ArtifactMissingError: If it is not stored.
        """

    def read(self, digest: Digest) -> memoryview:
        """Return the whole blob as a read-only buffer, checked against its digest.

        Raises:
            ArtifactMissingError: If it is not stored.
            ArtifactDigestError: If the stored bytes differ from the digest.
        """

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        """Store the bytes durably and return their digest; storing twice is harmless."""
