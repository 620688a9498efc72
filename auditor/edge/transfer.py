"""Carry a log between a folder and any other store."""

from collections.abc import Callable
from pathlib import Path

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log, write_log
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import StageLog
from auditor.stagelog.validate import parse_manifest

OnBlob = Callable[[int, int], None]
"""Called with (blobs done, blobs in all)."""


def push_log(folder: Path, target: BlobStore, *, on_blob: OnBlob) -> Digest:
    """Return the identity of a folder's log, which is then in ``target`` with all its blobs.

    Blobs come before the manifest, so that a manifest in a store is always complete; those that
    ``target`` has already are not read.

    Raises:
        ArtifactMissingError: If the folder lacks the manifest or a blob.
        ArtifactDigestError: If a blob is damaged.
        StageLogError: If the manifest is not valid.
    """
    log, _, source = read_log(folder)
    _copy(log, source=source, target=target, on_blob=on_blob)
    return target.write(canonical_bytes(log))


def pull_log(digest: Digest, source: BlobStore, *, folder: Path, on_blob: OnBlob) -> StageLog:
    """Return a log that is then in ``folder`` with all its blobs.

    Raises:
        ArtifactMissingError: If ``source`` lacks the manifest or a blob.
        ArtifactDigestError: If a blob is damaged.
        StageLogError: If the digest names no manifest.
    """
    log = parse_manifest(source.read(digest))
    _copy(log, source=source, target=FolderBlobs(folder / BLOBS_FOLDER), on_blob=on_blob)
    write_log(folder, log)
    return log


def _copy(log: StageLog, *, source: BlobStore, target: BlobStore, on_blob: OnBlob) -> None:
    digests = log.blobs()
    for done, digest in enumerate(digests, start=1):
        if not target.has(Digest(digest)):
            target.write(source.read(Digest(digest)))
        on_blob(done, len(digests))
