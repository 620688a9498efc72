"""A BlobStore in memory, for tests; held to the same conformance suite as the real ones."""

from typing import final

from auditor.errors import ArtifactDigestError, ArtifactMissingError
from auditor.stagelog.digest import Digest, parse_digest, sha256


@final
class MemoryBlobs:
    """Content-addressed bytes in a dictionary; ``stored`` may be damaged by a test."""

    def __init__(self) -> None:
        self.stored: dict[Digest, bytes] = {}

    def has(self, digest: Digest) -> bool:
        return parse_digest(digest, where="blob") in self.stored

    def size(self, digest: Digest) -> int:
        return len(self._find(digest))

    def read(self, digest: Digest) -> memoryview:
        data = self._find(digest)
        if sha256(data) != digest:
            raise ArtifactDigestError(
                f"blob {digest}",
                expected="bytes with this SHA-256",
                found="other bytes",
                remedy="Write the blob again.",
            )
        return memoryview(data)

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        digest = sha256(data)
        self.stored.setdefault(digest, bytes(data))
        return digest

    def _find(self, digest: Digest) -> bytes:
        try:
            return self.stored[parse_digest(digest, where="blob")]
        except KeyError as error:
            raise ArtifactMissingError(
                f"blob {digest}",
                expected="a stored blob",
                found="none",
                remedy="Write the blob first.",
            ) from error
