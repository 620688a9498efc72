"""Several folders as one store."""

from pathlib import Path

import pytest

from auditor.edge.folder import FolderBlobs
from auditor.edge.layered import LayeredBlobs
from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import sha256


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
    with pytest.raises(ArtifactMissingError, match="as paths"):
        blobs.read(sha256(b"x"))
