"""Evaluation sets from folders and archives."""

from pathlib import Path

import numpy as np
import pytest

from auditor.errors import InputError
from auditor.model.tensors import read_tensors
from auditor.record.evalset_folder import write_evaluation_folder
from auditor.stagelog.digest import Digest
from service.cli.evaluation_folder import open_evaluation_set

COLUMNS = {"image": np.eye(3, dtype=np.float32), "label": np.arange(3), "source": ["a", "b", "a"]}


def test_folder_is_opened_with_its_digest(tmp_path: Path) -> None:
    digest = write_evaluation_folder(tmp_path / "set", name="set", columns=COLUMNS)

    found = open_evaluation_set(tmp_path / "set", scratch=tmp_path)

    assert found.digest == digest
    assert found.blobs.has(digest)


def test_archive_becomes_the_same_set_as_its_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **COLUMNS)
    digest = write_evaluation_folder(tmp_path / "direct", name="set", columns=COLUMNS)

    found = open_evaluation_set(tmp_path / "set.npz", scratch=tmp_path / "scratch")

    assert found.digest == digest
    shard = Digest(found.content.dataset.shards[0].digest)
    tensors = read_tensors(found.blobs.read(shard), where="shard")
    assert tensors["image"].tolist() == np.eye(3).tolist()


def test_archive_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", label=np.array([{}, {}], dtype=object))

    with pytest.raises(InputError, match="plain arrays"):
        open_evaluation_set(tmp_path / "set.npz", scratch=tmp_path)


@pytest.mark.parametrize("name", ["nothing", "broken.npz"])
def test_anything_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")

    with pytest.raises(InputError):
        open_evaluation_set(tmp_path / name, scratch=tmp_path)
