"""Logs carried between a folder and another store."""

from pathlib import Path

import pytest

from auditor.edge.folder import read_log
from auditor.edge.transfer import pull_log, push_log
from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import Digest
from tests.support.builders import make_stage_log
from tests.support.memory_blobs import MemoryBlobs


def ignore(_done: int, _total: int) -> None:
    return


def test_pushed_log_is_complete_in_the_other_store(tmp_path: Path) -> None:
    run = make_stage_log(stages=2, folder=tmp_path)
    store = MemoryBlobs()
    progress: list[tuple[int, int]] = []

    digest = push_log(tmp_path, store, on_blob=lambda done, total: progress.append((done, total)))

    blobs = run.log.blobs()
    assert digest == run.digest
    assert set(store.stored) == {digest, *map(Digest, blobs)}
    assert progress[-1] == (len(blobs), len(blobs))


def test_pull_undoes_push(tmp_path: Path) -> None:
    run = make_stage_log(stages=2, folder=tmp_path / "first")
    store = MemoryBlobs()
    digest = push_log(tmp_path / "first", store, on_blob=ignore)

    log = pull_log(digest, store, folder=tmp_path / "second", on_blob=ignore)

    again, identity, blobs = read_log(tmp_path / "second")
    assert log == again == run.log
    assert identity == run.digest
    assert all(blobs.has(Digest(name)) for name in log.blobs())


def test_push_of_an_incomplete_folder_leaves_no_manifest_behind(tmp_path: Path) -> None:
    run = make_stage_log(stages=2, folder=tmp_path)
    _, _, blobs = read_log(tmp_path)
    blobs.path(Digest(run.log.blobs()[-1])).unlink()
    store = MemoryBlobs()

    with pytest.raises(ArtifactMissingError):
        push_log(tmp_path, store, on_blob=ignore)

    assert not store.has(run.digest)
