"""Every blob store keeps the promises of the protocol, the fake one too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.edge.folder import FolderBlobs
from auditor.errors import ArtifactDigestError, ArtifactMissingError, InputError
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, sha256
from tests.support.memory_blobs import MemoryBlobs

ABSENT = Digest("0" * 64)
NOT_DIGESTS = ["", "0" * 63, "../" + "0" * 61, "0" * 64 + "/", "A" * 64, "0" * 63 + "\n"]
CONTENTS = [b"", b"\x00", b"hello", bytes(range(256)) * 5000]


class Damaged:
    """A store of one kind and a way to damage what it holds."""

    def __init__(self, store: BlobStore, overwrite: Callable[[Digest, bytes], None]) -> None:
        self.store = store
        self.overwrite = overwrite


def in_memory(_folder: Path) -> Damaged:
    store = MemoryBlobs()

    def overwrite(digest: Digest, data: bytes) -> None:
        store.stored[digest] = data

    return Damaged(store, overwrite)


def in_folder(folder: Path) -> Damaged:
    store = FolderBlobs(folder / "blobs")

    def overwrite(digest: Digest, data: bytes) -> None:
        store.path(digest).unlink()
        store.path(digest).write_bytes(data)

    return Damaged(store, overwrite)


@pytest.fixture(params=[in_memory, in_folder], ids=["memory", "folder"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Damaged:
    made: Damaged = request.param(tmp_path)
    return made


@pytest.fixture
def store(damaged: Damaged) -> BlobStore:
    return damaged.store


@pytest.mark.parametrize("data", CONTENTS, ids=len)
def test_read_returns_what_was_written(store: BlobStore, data: bytes) -> None:
    digest = store.write(data)

    assert digest == sha256(data)
    assert bytes(store.read(digest)) == data
    assert store.size(digest) == len(data)
    assert store.has(digest)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_accepts_every_buffer(store: BlobStore, kind: type) -> None:
    digest = store.write(kind(b"some bytes"))

    assert bytes(store.read(digest)) == b"some bytes"


def test_write_keeps_a_copy_of_its_argument(store: BlobStore) -> None:
    data = bytearray(b"before")
    digest = store.write(data)

    data[:] = b"after!"

    assert bytes(store.read(digest)) == b"before"


def test_write_twice_is_harmless(store: BlobStore) -> None:
    assert store.write(b"same") == store.write(b"same")


def test_read_returns_a_read_only_buffer(store: BlobStore) -> None:
    view = store.read(store.write(b"constant"))

    with pytest.raises(TypeError):
        view[0] = 1


def test_absent_blob_is_said_to_be_missing(store: BlobStore) -> None:
    assert not store.has(ABSENT)
    with pytest.raises(ArtifactMissingError):
        store.read(ABSENT)
    with pytest.raises(ArtifactMissingError):
        store.size(ABSENT)


@pytest.mark.parametrize("name", NOT_DIGESTS)
def test_what_is_no_digest_is_refused(store: BlobStore, name: str) -> None:
    with pytest.raises(InputError):
        store.read(Digest(name))
    with pytest.raises(InputError):
        store.has(Digest(name))


@pytest.mark.parametrize("content", [b"Hello", b"hell", b""])
def test_damaged_blob_is_not_returned(damaged: Damaged, content: bytes) -> None:
    digest = damaged.store.write(b"hello")

    damaged.overwrite(digest, content)

    with pytest.raises(ArtifactDigestError):
        damaged.store.read(digest)
