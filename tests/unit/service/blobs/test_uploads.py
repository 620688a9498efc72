"""Uploads: resumed, overlapped, refused; the file's size is the committed size."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.errors import InputError, ResourceError, UnavailableError
from auditor.stagelog.digest import sha256
from service.blobs.objects import Objects
from service.blobs.uploads import BUSY_SECONDS, Uploads
from service.config import Limits
from service.errors import OffsetError
from service.metrics import Metrics
from service.names import UploadName
from tests.support.fake_clock import FakeClock

DATA = bytes(i * i % 251 for i in range(1000))


@dataclass
class Store:
    """Uploads over a folder, with a clock."""

    root: Path
    limits: Limits
    clock: FakeClock

    def __post_init__(self) -> None:
        metrics = Metrics()
        folder = self.root / "uploads"
        folder.mkdir(exist_ok=True)
        self.objects = Objects(self.root, metrics=metrics)
        self.uploads = Uploads(
            folder, objects=self.objects, limits=self.limits, clock=self.clock, metrics=metrics
        )

    def files(self) -> list[Path]:
        return sorted((self.root / "uploads").iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, Limits(uploads_open=3, blob_bytes=5000), FakeClock())
    yield store
    store.uploads.close()


def name_of(data: bytes, *, size: int | None = None) -> UploadName:
    return UploadName(
        tenant="a",
        upload=str(uuid.uuid4()),
        digest=sha256(data),
        size=len(data) if size is None else size,
    )


def test_upload_becomes_a_read_only_blob(store: Store) -> None:
    upload = store.uploads.begin(name_of(DATA))

    upload.append([DATA[:400], DATA[400:]], offset=0)
    store.uploads.commit(upload)
    store.uploads.end(upload)

    path = store.objects.path(sha256(DATA))
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o440
    assert store.files() == []


def test_empty_blob_can_be_sent(store: Store) -> None:
    upload = store.uploads.begin(name_of(b""))

    upload.append([b""], offset=0)
    store.uploads.commit(upload)

    assert bytes(store.objects.read(sha256(b""))) == b""


def test_upload_goes_on_after_a_restart(store: Store) -> None:
    name = name_of(DATA)
    first = store.uploads.begin(name)
    first.append([DATA[:300]], offset=0)
    store.uploads.end(first)
    restarted = Store(store.root, store.limits, store.clock)

    assert restarted.uploads.committed(name) == 300
    second = restarted.uploads.begin(name)
    second.append([DATA[300:]], offset=300)
    restarted.uploads.commit(second)

    assert bytes(restarted.objects.read(sha256(DATA))) == DATA
    restarted.uploads.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(cuts=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=8))
def test_overlapping_parts_give_the_same_blob(store: Store, cuts: list[tuple[int, int]]) -> None:
    upload = store.uploads.begin(name_of(DATA))
    try:
        for start, end in cuts:
            if start <= min(end, upload.committed):
                middle = (start + end) // 2
                upload.append([DATA[start:middle], DATA[middle:end]], offset=start)
        upload.append([DATA[upload.committed :]], offset=upload.committed)
        store.uploads.commit(upload)
    finally:
        store.uploads.end(upload)

    assert bytes(store.objects.read(sha256(DATA))) == DATA


def test_gap_is_refused_and_says_where_to_go_on(store: Store) -> None:
    upload = store.uploads.begin(name_of(DATA))
    upload.append([DATA[:10]], offset=0)

    with pytest.raises(OffsetError) as caught:
        upload.append([DATA[20:]], offset=20)

    assert caught.value.committed_size == 10


def test_bytes_beyond_the_size_are_refused(store: Store) -> None:
    upload = store.uploads.begin(name_of(DATA, size=999))

    with pytest.raises(InputError, match="write_offset"):
        upload.append([DATA], offset=0)


def test_early_end_is_refused_and_can_be_resumed(store: Store) -> None:
    name = name_of(DATA)
    upload = store.uploads.begin(name)
    upload.append([DATA[:10]], offset=0)

    with pytest.raises(InputError, match="finish_write"):
        store.uploads.commit(upload)
    store.uploads.end(upload)

    assert store.uploads.committed(name) == 10
    assert not store.objects.has(name.digest)


def test_wrong_digest_leaves_nothing(store: Store) -> None:
    name = name_of(DATA)
    upload = store.uploads.begin(name)
    upload.append([b"x" + DATA[1:]], offset=0)

    with pytest.raises(InputError, match="SHA-256"):
        store.uploads.commit(upload)
    store.uploads.end(upload)

    assert store.files() == []
    assert not store.objects.has(name.digest)


def test_second_stream_waits_while_the_first_is_active(store: Store) -> None:
    name = name_of(DATA)
    store.uploads.begin(name)

    with pytest.raises(UnavailableError, match="another one"):
        store.uploads.begin(name)


def test_silent_stream_is_fenced_off(store: Store) -> None:
    name = name_of(DATA)
    silent = store.uploads.begin(name)
    silent.append([DATA[:10]], offset=0)
    store.clock.advance(BUSY_SECONDS + 1)

    second = store.uploads.begin(name)

    with pytest.raises(UnavailableError, match="newer"):
        silent.append([b"junk"], offset=10)
    store.uploads.end(silent)  # must not end the second one
    second.append([DATA[10:]], offset=10)
    store.uploads.commit(second)
    assert bytes(store.objects.read(sha256(DATA))) == DATA


def test_too_many_uploads_are_refused_but_known_ones_go_on(store: Store) -> None:
    names = [name_of(bytes([i])) for i in range(3)]
    for name in names:
        store.uploads.end(store.uploads.begin(name))

    with pytest.raises(ResourceError, match="uploads"):
        store.uploads.begin(name_of(b"one more"))
    store.uploads.begin(names[0])


def test_too_large_a_blob_is_refused_before_its_bytes(store: Store) -> None:
    with pytest.raises(ResourceError, match="5000"):
        store.uploads.begin(name_of(DATA, size=5001))


def test_idle_uploads_are_removed_and_open_ones_kept(store: Store) -> None:
    idle, busy = name_of(b"idle"), name_of(b"busy")
    store.uploads.end(store.uploads.begin(idle))
    upload = store.uploads.begin(busy)
    much_later = Store(store.root, Limits(upload_idle_seconds=0), FakeClock())
    much_later.clock.advance(100 * 365 * 86400)

    assert store.uploads.remove_idle() == 0
    assert much_later.uploads.remove_idle() == 2
    store.uploads.end(upload)
    much_later.uploads.close()
