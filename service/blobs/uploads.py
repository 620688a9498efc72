"""Resumable uploads: bytes go to a file whose size *is* the committed size.

A file ``uploads/<tenant>.<uuid>.<digest>`` lies on the file system of the blobs, so that the last
step is a rename. The hash is computed as the bytes arrive; after a restart it is computed once
more from the file. Nothing else is remembered, so a crash leaves nothing to repair.
"""

import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import final

from auditor.edge.clock import Clock
from auditor.edge.folder import fsync_folder
from auditor.errors import InputError, ResourceError, UnavailableError
from service.blobs.objects import Objects
from service.config import Limits
from service.errors import OffsetError
from service.metrics import Metrics
from service.names import UploadName

BUSY_SECONDS = 5.0
"""An upload whose writer was silent for this long may be continued by another one."""

HASHING_THREADS = 4
FLUSH_BYTES = 32 * 2**20

_READ_BYTES = 2**20


@final
class Upload:
    """One blob on its way in, owned by one stream; its methods run in threads, one at a time.

    Args:
        name: What is uploaded.
        path: Where the bytes are collected.
        clock: Tells when the last bytes came.
        hashing: Where the bytes are hashed while they are written.
    """

    def __init__(
        self, name: UploadName, path: Path, *, clock: Clock, hashing: ThreadPoolExecutor
    ) -> None:
        self.name = name
        self._path = path
        self._clock = clock
        self._hashing = hashing
        self._lock = threading.Lock()
        self._hasher = hashlib.sha256()
        self._closed = False
        self._finishing = False
        self._flushed = 0
        self._flushing: Future[None] | None = None
        self._last_seen = clock.monotonic()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self.committed = 0

    def resume(self) -> None:
        """Hash what an earlier stream has sent.

        Raises:
            UnavailableError: If another stream has taken the upload over.
        """
        with self._lock:
            self._require_open()
            while data := os.pread(self._descriptor, _READ_BYTES, self.committed):
                self._hasher.update(data)
                self.committed += len(data)
                self._last_seen = self._clock.monotonic()

    def is_busy(self) -> bool:
        """Return whether its stream may still be alive: it was heard, or waits for the disk."""
        return self._finishing or self._clock.monotonic() - self._last_seen < BUSY_SECONDS

    def append(self, parts: Sequence[bytes], *, offset: int) -> None:
        """Take the next bytes; what is held already is skipped.

        Args:
            parts: Bytes that follow one another.
            offset: Where the first of them belongs.

        Raises:
            OffsetError: If there is a gap before ``offset``.
            InputError: If the bytes go beyond the blob's size.
            UnavailableError: If another stream has taken the upload over.
            ResourceError: If the disk is full.
        """
        with self._lock:
            self._require_open()
            if offset > self.committed:
                raise OffsetError(str(self.name), committed_size=self.committed, offset=offset)
            end = offset + sum(len(part) for part in parts)
            if end > self.name.size:
                raise InputError(
                    "write_offset",
                    expected=f"bytes inside [0, {self.name.size})",
                    found=f"an end at {end}",
                    remedy="Name the upload by the blob's true size.",
                )
            fresh = list(_skip(parts, self.committed - offset))
            # Beside the write, which waits for the kernel as long as hashing takes or longer.
            hashing = self._hashing.submit(self._hash, fresh)
            try:
                self._write(fresh)
                self._flush_early()
            except OSError as error:
                raise self._failed(error) from error
            finally:
                hashing.result()
            self.committed += sum(len(part) for part in fresh)
            self._last_seen = self._clock.monotonic()

    def commit(self, target: Path) -> None:
        """Check the digest and make the blob durable under its name.

        Raises:
            InputError: If the bytes are too few (the upload can be resumed) or have another digest
                (the upload is removed).
            UnavailableError: If another stream has taken the upload over.
        """
        with self._lock:
            self._require_open()
            self._finishing = True
            if self.committed < self.name.size:
                raise InputError(
                    "finish_write",
                    expected=f"{self.name.size} bytes",
                    found=f"{self.committed} bytes",
                    remedy="Ask QueryWriteStatus and send the rest.",
                )
            found = self._hasher.hexdigest()
            if found != self.name.digest:
                self._close()
                self._path.unlink(missing_ok=True)
                raise InputError(
                    "resource_name",
                    expected=f"bytes with SHA-256 {self.name.digest}",
                    found=f"SHA-256 {found}",
                    remedy="Hash the file again: it changed, or it was damaged on the way.",
                )
            try:
                if self._flushing is not None:
                    self._flushing.result()
                os.fchmod(self._descriptor, 0o440)
                os.fsync(self._descriptor)
                _adopt(self._path, target)
            except OSError as error:
                raise self._failed(error) from error
            self._close()

    def release(self) -> None:
        """Give the upload back; what was received stays."""
        with self._lock:
            self._close()

    def _write(self, parts: Sequence[memoryview]) -> None:
        position = self.committed
        while parts:
            written = os.pwritev(self._descriptor, parts, position)
            position += written
            parts = list(_skip(parts, written))

    def _hash(self, parts: Sequence[memoryview]) -> None:
        for part in parts:
            self._hasher.update(part)

    def _flush_early(self) -> None:
        """Let the disk begin while bytes still arrive, so that the last fsync finds little."""
        if self._flushing is not None:
            if not self._flushing.done():
                return
            self._flushing.result()  # the kernel tells of a lost page once only
        if self.committed - self._flushed >= FLUSH_BYTES:
            self._flushed = self.committed
            self._flushing = self._hashing.submit(os.fdatasync, self._descriptor)

    def _failed(self, error: OSError) -> ResourceError | UnavailableError:
        """Drop an upload whose file or hash can no longer be relied upon."""
        self._close()
        self._path.unlink(missing_ok=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return ResourceError(
                "store", expected="free space", found=error.strerror, remedy="Free some space."
            )
        return UnavailableError(
            "store",
            expected="a disk that can be written",
            found=error.strerror,
            remedy="Check the disk of the data folder, then send the blob again.",
        )

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._flushing is not None:
                wait([self._flushing])
            os.close(self._descriptor)

    def _require_open(self) -> None:
        if self._closed:
            raise UnavailableError(
                str(self.name),
                expected="one stream for this upload",
                found="a newer one",
                remedy="Ask QueryWriteStatus and go on from there.",
            )


@final
class Uploads:
    """All uploads of the service.

    Args:
        folder: Where they are collected; on the file system of ``objects``.
        objects: Where finished blobs go.
        limits: How many a tenant may have, how large a blob may be, how long they are kept.
        clock: Tells idle ones from busy ones.
        metrics: Counts.
    """

    def __init__(
        self, folder: Path, *, objects: Objects, limits: Limits, clock: Clock, metrics: Metrics
    ) -> None:
        self._folder = folder
        self._objects = objects
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._hashing = ThreadPoolExecutor(
            max_workers=HASHING_THREADS, thread_name_prefix="hashing"
        )
        self._open: dict[Path, Upload] = {}
        self._lock = threading.Lock()

    def begin(self, name: UploadName) -> Upload:
        """Open an upload, new or resumed; the caller releases it.

        Raises:
            UnavailableError: If another stream is writing it now.
            ResourceError: If the blob is too large or the tenant has too many uploads.
        """
        path = self._path(name)
        with self._lock:
            holder = self._open.get(path)
            if holder is not None:
                if holder.is_busy():
                    raise UnavailableError(
                        str(name),
                        expected="one stream for this upload",
                        found="another one that is active",
                        remedy="Wait until it ends, then ask QueryWriteStatus.",
                    )
                holder.release()
            elif not path.exists():
                self._admit(name)
            upload = Upload(name, path, clock=self._clock, hashing=self._hashing)
            self._open[path] = upload
            self._metrics.uploads_active.set(len(self._open))
        try:
            upload.resume()
        except BaseException:
            self.end(upload)
            raise
        return upload

    def end(self, upload: Upload) -> None:
        """Give an upload back; what was received stays until it is idle for too long."""
        path = self._path(upload.name)
        upload.release()
        with self._lock:
            if self._open.get(path) is upload:
                del self._open[path]
            self._metrics.uploads_active.set(len(self._open))

    def commit(self, upload: Upload) -> None:
        """Make an upload's blob durable.

        Raises:
            InputError: If size or digest are not those of the name.
        """
        upload.commit(self._objects.path(upload.name.digest))

    def committed(self, name: UploadName) -> int:
        """Return how many bytes of an upload are held; 0 for one that is unknown."""
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def remove_idle(self) -> int:
        """Remove uploads that nobody continued, and return how many."""
        oldest = self._clock.now().timestamp() - self._limits.upload_idle_seconds
        removed = 0
        with self._lock:
            for path in self._folder.iterdir():
                if path not in self._open and path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def close(self) -> None:
        """End the threads."""
        self._hashing.shutdown()

    def _path(self, name: UploadName) -> Path:
        return self._folder / f"{name.tenant}.{name.upload}.{name.digest}"

    def _admit(self, name: UploadName) -> None:
        if name.size > self._limits.blob_bytes:
            raise ResourceError(
                "resource_name",
                expected=f"a blob of at most {self._limits.blob_bytes} bytes",
                found=name.size,
                remedy="Split the data into more shards.",
            )
        count = sum(1 for _ in self._folder.glob(f"{name.tenant}.*"))
        if count >= self._limits.uploads_open:
            raise ResourceError(
                "uploads",
                expected=f"fewer than {self._limits.uploads_open} unfinished uploads",
                found=count,
                remedy="Finish those that were begun; idle ones are removed after a day.",
                retry_after_seconds=BUSY_SECONDS,
            )


def _skip(parts: Iterable[bytes | memoryview], count: int) -> Iterator[memoryview]:
    """Yield the parts without their first ``count`` bytes, and without empty ones."""
    for part in parts:
        rest = memoryview(part)[count:]
        count = max(0, count - len(part))
        if rest:
            yield rest


def _adopt(source: Path, target: Path) -> None:
    """Rename a durable file so that the new name is durable too."""
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        fsync_folder(target.parent.parent)
    source.replace(target)
    fsync_folder(target.parent)
    fsync_folder(source.parent)
