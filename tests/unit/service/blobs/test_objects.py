"""Blobs in parts, and what happens to damaged ones."""

from pathlib import Path

import pytest

from auditor.errors import ArtifactDigestError, ArtifactMissingError, InputError
from auditor.stagelog.digest import Digest, sha256
from service.blobs.objects import Objects
from service.metrics import Metrics

DATA = bytes(range(256)) * 10


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def objects(tmp_path: Path, metrics: Metrics) -> Objects:
    return Objects(tmp_path, metrics=metrics)


def read(objects: Objects, digest: Digest, *, offset: int = 0, limit: int = 0) -> list[bytes]:
    return list(objects.chunks(digest, offset=offset, limit=limit, chunk_bytes=1000))


def damage(objects: Objects, digest: Digest) -> None:
    path = objects.path(digest)
    path.chmod(0o640)
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


def corruptions(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("stageaudit_blob_corruptions_total")


@pytest.mark.parametrize(
    ("offset", "limit"), [(0, 0), (0, 2560), (10, 0), (10, 20), (2560, 0), (0, 1000)]
)
def test_chunks_are_the_bytes_asked_for(objects: Objects, offset: int, limit: int) -> None:
    digest = objects.write(DATA)

    chunks = read(objects, digest, offset=offset, limit=limit)

    assert b"".join(chunks) == DATA[offset : offset + limit if limit else None]
    assert all(len(chunk) <= 1000 for chunk in chunks)


@pytest.mark.parametrize(("offset", "limit"), [(-1, 0), (0, 2561), (2561, 0), (5, -1)])
def test_range_outside_the_blob_is_refused(objects: Objects, offset: int, limit: int) -> None:
    digest = objects.write(DATA)

    with pytest.raises(InputError, match="read_offset"):
        read(objects, digest, offset=offset, limit=limit)


def test_unknown_blob_is_missing(objects: Objects) -> None:
    with pytest.raises(ArtifactMissingError):
        read(objects, sha256(b"unknown"))


def test_damaged_blob_never_arrives_whole_and_is_set_aside(
    objects: Objects, metrics: Metrics
) -> None:
    digest = objects.write(DATA)
    damage(objects, digest)
    received = []

    with pytest.raises(ArtifactDigestError):
        received.extend(objects.chunks(digest, offset=0, limit=0, chunk_bytes=1000))

    assert len(b"".join(received)) < len(DATA)
    assert not objects.has(digest)
    assert corruptions(metrics) == 1


def test_reading_a_damaged_blob_sets_it_aside_and_writing_repairs_it(
    objects: Objects, metrics: Metrics
) -> None:
    digest = objects.write(DATA)
    damage(objects, digest)

    with pytest.raises(ArtifactDigestError):
        objects.read(digest)
    objects.write(DATA)

    assert bytes(objects.read(digest)) == DATA
    assert corruptions(metrics) == 1
