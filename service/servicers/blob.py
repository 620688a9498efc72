"""BlobService: bytes in and out, at constant memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import grpc
from typing_extensions import override

from auditor.errors import ArtifactMissingError, InputError
from auditor.stagelog.digest import Digest, parse_digest, sha256
from service.auth import require_tenant
from service.blobs.objects import Objects
from service.blobs.uploads import Upload, Uploads
from service.metrics import Metrics
from service.names import UploadName, parse_blob, parse_parent, parse_upload
from service.pb.v1 import blob_pb2
from service.pb.v1.blob_service_pb2_grpc import BlobServiceServicer
from service.records.base import BlobRecords
from service.threads import Threads

CHUNK_BYTES = 2**20
BATCH_BYTES = 3 * 2**20
BATCH_COUNT = 1000
RUN_MESSAGES = 4
"""Most messages that wait for the disk; bounds the memory of an upload."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(kw_only=True, slots=True)
class Run:
    """Messages whose bytes follow one another."""

    offset: int
    parts: list[bytes] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Where the next message has to begin."""
        return self.offset + sum(len(part) for part in self.parts)

    def takes(self, offset: int) -> bool:
        """Return whether a message that begins there continues this run, which is not full."""
        return offset == self.end and len(self.parts) < RUN_MESSAGES


@final
class BlobServicer(BlobServiceServicer):
    """Decodes, calls the stores, encodes.

    Args:
        objects: Stored blobs.
        uploads: Blobs on their way in.
        records: Which tenant holds what.
        threads: Where hashing and disk happen.
        metrics: Counts bytes.
    """

    def __init__(
        self,
        *,
        objects: Objects,
        uploads: Uploads,
        records: BlobRecords,
        threads: Threads,
        metrics: Metrics,
    ) -> None:
        self._objects = objects
        self._uploads = uploads
        self._records = records
        self._threads = threads
        self._received = metrics.blob_bytes.labels(direction="received")
        self._sent = metrics.blob_bytes.labels(direction="sent")

    @override
    async def FindMissingBlobs(
        self, request: blob_pb2.FindMissingBlobsRequest, context: Context
    ) -> blob_pb2.FindMissingBlobsResponse:
        """Say which blobs the tenant has still to send."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        _require_count(len(request.blobs))
        asked = [
            (parse_digest(blob.digest, where=f"blobs[{i}].digest"), blob)
            for i, blob in enumerate(request.blobs)
        ]
        held = await self._threads.run(self._held, tenant, [digest for digest, _ in asked])
        missing = [blob for digest, blob in asked if held.get(digest) != blob.size_bytes]
        return blob_pb2.FindMissingBlobsResponse(missing=missing)

    @override
    async def BatchWriteBlobs(
        self, request: blob_pb2.BatchWriteBlobsRequest, context: Context
    ) -> blob_pb2.BatchWriteBlobsResponse:
        """Store several small blobs."""
        tenant = require_tenant(parse_parent(request.parent), name=request.parent)
        _require_count(len(request.blobs))
        total = sum(len(blob.data) for blob in request.blobs)
        if total > BATCH_BYTES:
            raise InputError(
                "blobs",
                expected=f"at most {BATCH_BYTES} bytes together",
                found=total,
                remedy="Send fewer at once, or use WriteBlob.",
            )
        sizes = await self._threads.run(self._store_batch, tenant, list(request.blobs))
        self._received.inc(total)
        return blob_pb2.BatchWriteBlobsResponse(
            blobs=[
                blob_pb2.BlobId(digest=digest, size_bytes=size) for digest, size in sizes.items()
            ]
        )

    @override
    async def WriteBlob(
        self, request_iterator: AsyncIterator[blob_pb2.WriteBlobRequest], context: Context
    ) -> blob_pb2.WriteBlobResponse:
        """Store one blob of any size."""
        first = await anext(request_iterator, None)
        if first is None:
            raise _truncated("no message")
        name = parse_upload(first.resource_name)
        require_tenant(name.tenant, name=first.resource_name)
        if await self._threads.run(self._complete, name):
            return blob_pb2.WriteBlobResponse(committed_size=name.size)
        upload = await self._threads.run(self._uploads.begin, name)
        try:
            await self._receive(upload, first, request_iterator)
            await self._threads.run(self._commit, upload)
        finally:
            # A thread may still be writing: it is waited for in a thread, not on the loop.
            await self._threads.run(self._uploads.end, upload)
        return blob_pb2.WriteBlobResponse(committed_size=name.size)

    @override
    async def QueryWriteStatus(
        self, request: blob_pb2.QueryWriteStatusRequest, context: Context
    ) -> blob_pb2.QueryWriteStatusResponse:
        """Say where to resume an upload."""
        name = parse_upload(request.resource_name)
        require_tenant(name.tenant, name=request.resource_name)
        if await self._threads.run(self._complete, name):
            return blob_pb2.QueryWriteStatusResponse(committed_size=name.size, complete=True)
        committed = await self._threads.run(self._uploads.committed, name)
        return blob_pb2.QueryWriteStatusResponse(committed_size=committed)

    @override
    async def ReadBlob(
        self, request: blob_pb2.ReadBlobRequest, context: Context
    ) -> AsyncIterator[blob_pb2.ReadBlobResponse]:
        """Send a blob of the tenant, the next chunk being read while one is sent.

        Yields:
            The chunks in their order.
        """
        name = parse_blob(request.name)
        require_tenant(name.tenant, name=request.name)
        held = await self._threads.run(self._held, name.tenant, [name.digest])
        if held.get(name.digest) != name.size:
            raise ArtifactMissingError(
                request.name,
                expected="a blob that this tenant has sent",
                found="none",
                remedy="Check digest and size.",
            )
        chunks = self._objects.chunks(
            name.digest,
            offset=request.read_offset,
            limit=request.read_limit,
            chunk_bytes=CHUNK_BYTES,
        )
        following = asyncio.ensure_future(self._threads.run(_next_chunk, chunks))
        try:
            while (data := await following) is not None:
                following = asyncio.ensure_future(self._threads.run(_next_chunk, chunks))
                yield blob_pb2.ReadBlobResponse(data=data)
                self._sent.inc(len(data))
        finally:
            # The thread may be inside the generator, which can only be closed after it.
            await asyncio.wait([following])
            chunks.close()

    async def _receive(
        self,
        upload: Upload,
        first: blob_pb2.WriteBlobRequest,
        following: AsyncIterator[blob_pb2.WriteBlobRequest],
    ) -> None:
        """Write and hash what was received while more is received.

        Messages that come while the thread is busy are taken together by its next turn: every
        change of threads costs as much as hashing a few hundred kilobytes.
        """
        message: blob_pb2.WriteBlobRequest | None = first
        waiting = Run(offset=first.write_offset)
        writing: asyncio.Task[None] | None = None
        try:
            while message is not None:
                data = message.data  # every access copies
                _require_message(
                    message, size=len(data), name=str(upload.name), first=message is first
                )
                if not waiting.takes(message.write_offset):
                    writing = await self._write(upload, waiting, after=writing)
                    waiting = Run(offset=message.write_offset)
                waiting.parts.append(data)
                self._received.inc(len(data))
                if message.finish_write:
                    writing = await self._write(upload, waiting, after=writing)
                    return
                if writing is None or writing.done():
                    writing = await self._write(upload, waiting, after=writing)
                    waiting = Run(offset=waiting.end)
                message = await anext(following, None)
            writing = await self._write(upload, waiting, after=writing)
            raise _truncated("the end of the stream")
        finally:
            if writing is not None:
                await writing

    async def _write(
        self, upload: Upload, run: "Run", *, after: asyncio.Task[None] | None
    ) -> asyncio.Task[None]:
        """Begin to write a run once the one before it is written."""
        if after is not None:
            await after
        return asyncio.create_task(self._threads.run(upload.append, run.parts, offset=run.offset))

    def _held(self, tenant: str, digests: list[Digest]) -> dict[Digest, int]:
        """Return the sizes of the blobs that the tenant has sent and that are still here."""
        held = self._records.held_blobs(tenant, digests)
        return {digest: size for digest, size in held.items() if self._objects.has(digest)}

    def _complete(self, name: UploadName) -> bool:
        return self._held(name.tenant, [name.digest]).get(name.digest) == name.size

    def _commit(self, upload: Upload) -> None:
        self._uploads.commit(upload)
        self._records.add_blobs(upload.name.tenant, {upload.name.digest: upload.name.size})
        self._objects.observe_free_space()

    def _store_batch(self, tenant: str, blobs: list[blob_pb2.BlobContent]) -> dict[Digest, int]:
        for i, blob in enumerate(blobs):
            found = sha256(blob.data)
            if found != blob.digest:
                raise InputError(
                    f"blobs[{i}].digest",
                    expected=f"bytes with SHA-256 {blob.digest}",
                    found=f"SHA-256 {found}",
                    remedy="Hash the bytes again.",
                )
        sizes = {self._objects.write(blob.data): len(blob.data) for blob in blobs}
        self._records.add_blobs(tenant, sizes)
        return sizes


def _next_chunk(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _require_count(count: int) -> None:
    if count > BATCH_COUNT:
        raise InputError(
            "blobs",
            expected=f"at most {BATCH_COUNT} blobs",
            found=count,
            remedy="Ask in several requests.",
        )


def _require_message(
    message: blob_pb2.WriteBlobRequest, *, size: int, name: str, first: bool
) -> None:
    if size > CHUNK_BYTES:
        raise InputError(
            "data",
            expected=f"at most {CHUNK_BYTES} bytes a message",
            found=size,
            remedy="Send smaller parts.",
        )
    if message.write_offset < 0:
        raise InputError(
            "write_offset",
            expected="a position >= 0",
            found=message.write_offset,
            remedy="Start at 0 or at the committed size.",
        )
    if not first and message.resource_name not in {"", name}:
        raise InputError(
            "resource_name",
            expected="the name of the first message or none",
            found=message.resource_name,
            remedy="Use one stream for one blob.",
        )


def _truncated(found: str) -> InputError:
    return InputError(
        "finish_write",
        expected="a last message with finish_write",
        found=found,
        remedy="Ask QueryWriteStatus and send the rest.",
    )
