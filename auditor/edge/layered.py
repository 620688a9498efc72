"""Several folders of blobs as one store: a log, its evaluation data, and a cache of results."""

from typing import final

from auditor.edge.folder import FolderBlobs
from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import Digest


@final
class LayeredBlobs:
    """A BlobStore that writes to one folder and reads from that one and others.

    A log and its evaluation sets stay where they are; only results are written.

    Args:
        target: Receives what is written.
    """

    def __init__(self, target: FolderBlobs) -> None:
        self._folders = [target]

    def add(self, folder: FolderBlobs) -> None:
        """Read from one more folder."""
        self._folders.append(folder)

    def has(self, digest: Digest) -> bool:
        """Return whether any folder holds the blob."""
        return any(folder.has(digest) for folder in self._folders)

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes.

        Raises:
            ArtifactMissingError: If no folder holds it.
        """
        return self._holder(digest).size(digest)

    def read(self, digest: Digest) -> memoryview:
        """Return the whole blob, checked against its digest.

        Raises:
            ArtifactMissingError: If no folder holds it.
            ArtifactDigestError: If the stored bytes differ from the digest.
        """
        return self._holder(digest).read(digest)

    def write(self, data: bytes | bytearray | memoryview) -> Digest:
        """Return the digest of the bytes, stored durably in the first folder."""
        return self._folders[0].write(data)

    def _holder(self, digest: Digest) -> FolderBlobs:
        for folder in self._folders:
            if folder.has(digest):
                return folder
        raise ArtifactMissingError(
            f"blob {digest}",
            expected="a blob of the log, of an evaluation set or of the cache",
            found="none",
            remedy="Pass logs and data as paths; a digest alone works only for what was read here "
            "before.",
        )
