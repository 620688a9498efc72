"""Sends and fetches blobs: small ones together, large ones in resumable streams, side by side."""

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, final

from auditor.errors import ArtifactDigestError, InputError, UnavailableError
from auditor.stagelog.digest import Digest
from service.channel import Connection
from service.errors import OffsetError
from service.names import BlobName, UploadName
from service.pb.v1 import blob_pb2

CHUNK_BYTES = 2**20
SMALL_BYTES = 256 * 2**10
BATCH_BYTES = 2 * 2**20
BATCH_COUNT = 500
STREAMS = 3
STREAM_SECONDS = 3600.0
RESUMES = 20

Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of all, from several threads in turn."""


class Source(Protocol):
    """Bytes to send."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def parts(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from ``offset`` on, in parts of at most :data:`CHUNK_BYTES`."""


@final
class FileSource:
    """The bytes of a file, read as they are sent.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise InputError(
                str(path),
                expected="a readable file",
                found=error.strerror,
                remedy="Check the path; record the log again if a blob is missing.",
            ) from error

    def parts(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from ``offset`` on."""
        with self._path.open("rb", buffering=0) as file:
            file.seek(offset)
            while data := file.read(CHUNK_BYTES):
                yield data


@final
class BytesSource:
    """Bytes in memory.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def parts(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from ``offset`` on."""
        for start in range(offset, self.size, CHUNK_BYTES):
            yield self._data[start : start + CHUNK_BYTES]


def digest_of_source(source: Source) -> Digest:
    """Return the SHA-256 of a source."""
    hasher = hashlib.sha256()
    for part in source.parts(0):
        hasher.update(part)
    return Digest(hasher.hexdigest())


@final
class Counter:
    """Adds up bytes from several threads and tells a progress callback.

    Args:
        total: Bytes of all.
        on_progress: Told, or None.
    """

    def __init__(self, total: int, *, on_progress: Progress | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()

    def set(self, part: str, done: int) -> None:
        """Note how many bytes of a part are there."""
        with self._lock:
            self._done[part] = done
            if self._on_progress is not None:
                self._on_progress(sum(self._done.values()), self._total)


@final
class Transfer:
    """Moves blobs of one tenant.

    Args:
        connection: The service.
        tenant: Whose blobs.
    """

    def __init__(self, connection: Connection, *, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant

    def send(self, sources: Mapping[Digest, Source], *, on_progress: Progress | None) -> None:
        """Send the blobs that the tenant has not sent before.

        Args:
            sources: The bytes of each digest.
            on_progress: Told how much is there.

        Raises:
            AuditorError: If the service refuses one; those that were sent stay.
        """
        counter = Counter(sum(s.size for s in sources.values()), on_progress=on_progress)
        missing = self.missing({digest: source.size for digest, source in sources.items()})
        held = sum(source.size for digest, source in sources.items() if digest not in missing)
        counter.set("held", held)
        small = [digest for digest in missing if sources[digest].size <= SMALL_BYTES]
        large = [digest for digest in missing if sources[digest].size > SMALL_BYTES]
        for batch in batches({digest: sources[digest].size for digest in small}):
            self._send_batch({digest: sources[digest] for digest in batch}, counter=counter)
        with ThreadPoolExecutor(max_workers=STREAMS, thread_name_prefix="upload") as pool:
            futures = [
                pool.submit(self._send_stream, digest, sources[digest], counter=counter)
                for digest in large
            ]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def missing(self, sizes: Mapping[Digest, int]) -> tuple[Digest, ...]:
        """Return the blobs that the tenant has not sent."""
        found: list[Digest] = []
        digests = list(sizes)
        for start in range(0, len(digests), BATCH_COUNT):
            asked = [
                blob_pb2.BlobId(digest=digest, size_bytes=sizes[digest])
                for digest in digests[start : start + BATCH_COUNT]
            ]
            request = blob_pb2.FindMissingBlobsRequest(
                parent=f"tenants/{self._tenant}", blobs=asked
            )
            answer = self._connection.call(self._connection.blobs.FindMissingBlobs, request)
            found += [Digest(blob.digest) for blob in answer.missing]
        return tuple(found)

    def fetch(self, digest: Digest, *, size: int) -> Iterator[bytes]:
        """Yield a blob's bytes; the digest is checked before the last of them.

        Yields:
            The chunks in their order.

        Raises:
            ArtifactDigestError: If other bytes came.
        """
        name = str(BlobName(tenant=self._tenant, digest=digest, size=size))
        hasher = hashlib.sha256()
        received = 0
        request = blob_pb2.ReadBlobRequest(name=name)
        stream = self._connection.blobs.ReadBlob
        for part in self._connection.stream(stream, request, seconds=STREAM_SECONDS):
            hasher.update(part.data)
            received += len(part.data)
            if received >= size and hasher.hexdigest() != digest:
                raise ArtifactDigestError(
                    name,
                    expected="bytes with this SHA-256",
                    found="other bytes",
                    remedy="Fetch it again.",
                )
            yield part.data

    def _send_batch(self, sources: Mapping[Digest, Source], *, counter: Counter) -> None:
        blobs = [
            blob_pb2.BlobContent(digest=digest, data=b"".join(source.parts(0)))
            for digest, source in sources.items()
        ]
        request = blob_pb2.BatchWriteBlobsRequest(parent=f"tenants/{self._tenant}", blobs=blobs)
        self._connection.call(self._connection.blobs.BatchWriteBlobs, request)
        for digest, source in sources.items():
            counter.set(digest, source.size)

    def _send_stream(self, digest: Digest, source: Source, *, counter: Counter) -> None:
        """Send one blob, going on from what the service holds whenever the stream breaks."""
        name = UploadName(
            tenant=self._tenant, upload=_upload_id(digest), digest=digest, size=source.size
        )
        stalled = 0
        held = -1
        while True:
            query = blob_pb2.QueryWriteStatusRequest(resource_name=str(name))
            status = self._connection.call(self._connection.blobs.QueryWriteStatus, query)
            counter.set(digest, status.committed_size)
            if status.complete:
                return
            stalled = stalled + 1 if status.committed_size <= held else 0
            held = status.committed_size
            try:
                self._connection.once(
                    self._connection.blobs.WriteBlob,
                    _messages(name, source, offset=held, counter=counter),
                    seconds=STREAM_SECONDS,
                )
            except (UnavailableError, OffsetError):
                if stalled >= RESUMES:
                    raise
                self._connection.pause(min(0.1 * 2**stalled, 2.0))
            else:
                counter.set(digest, source.size)
                return


def batches(sizes: Mapping[Digest, int]) -> Iterator[Sequence[Digest]]:
    """Yield runs of blobs that fit one message."""
    batch: list[Digest] = []
    total = 0
    for digest, size in sizes.items():
        if batch and (total + size > BATCH_BYTES or len(batch) == BATCH_COUNT):
            yield batch
            batch, total = [], 0
        batch.append(digest)
        total += size
    if batch:
        yield batch


def _upload_id(digest: Digest) -> str:
    """Return the same id for the same blob, so that another process resumes the upload."""
    return str(
        uuid.UUID(bytes=hashlib.sha256(b"upload" + digest.encode()).digest()[:16], version=4)
    )


def _messages(
    name: UploadName, source: Source, *, offset: int, counter: Counter
) -> Iterator[blob_pb2.WriteBlobRequest]:
    resource = str(name)
    for data in source.parts(offset):
        end = offset + len(data)
        yield blob_pb2.WriteBlobRequest(
            resource_name=resource,
            write_offset=offset,
            data=data,
            finish_write=end >= name.size,
        )
        offset, resource = end, ""
        counter.set(name.digest, offset)
    if resource:  # nothing was left to send but the end
        yield blob_pb2.WriteBlobRequest(
            resource_name=resource, write_offset=offset, finish_write=True
        )
