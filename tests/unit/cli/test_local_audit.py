"""Where a local audit reads and writes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.edge.folder import FolderBlobs
from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import sha256
from service.cli.local_audit import LayeredBlobs, subjects_of, timestamp
from tests.support.reports import LOG_BYTES, MODEL_BYTES, make_report


def test_layered_blobs_read_everywhere_and_write_to_the_first(tmp_path: Path) -> None:
    target, log = FolderBlobs(tmp_path / "cache"), FolderBlobs(tmp_path / "log")
    recorded = log.write(b"recorded")
    blobs = LayeredBlobs(target)
    blobs.add(log)

    written = blobs.write(b"result")

    assert bytes(blobs.read(recorded)) == b"recorded"
    assert (blobs.size(written), blobs.has(written)) == (6, True)
    assert target.has(written)
    assert not log.has(written)


def test_layered_blobs_miss_what_nobody_has(tmp_path: Path) -> None:
    blobs = LayeredBlobs(FolderBlobs(tmp_path))

    assert not blobs.has(sha256(b"x"))
    with pytest.raises(ArtifactMissingError, match="--local"):
        blobs.read(sha256(b"x"))


def test_subjects_are_the_files_people_hold() -> None:
    subjects = subjects_of(make_report(), "model.safetensors")

    assert [(s.name, s.digest) for s in subjects] == [
        ("stagelog.json", sha256(LOG_BYTES)),
        ("model.safetensors", sha256(MODEL_BYTES)),
    ]


def test_timestamp_is_utc_to_the_millisecond() -> None:
    assert timestamp(datetime(2026, 3, 1, 12, tzinfo=UTC)) == "2026-03-01T12:00:00.000Z"
