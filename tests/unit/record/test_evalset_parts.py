"""A set that is written in parts holds what one written at once holds."""

from pathlib import Path

import pytest
import torch

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs
from auditor.errors import ResourceError, ShapeError
from auditor.model.tensors import read_tensors
from auditor.record.evalset import manifest_bytes
from auditor.record.evalset_parts import write_in_parts
from auditor.stagelog.content import check_evaluation_content
from auditor.stagelog.dataset import Column, Dataset, EvaluationSet
from auditor.stagelog.digest import Digest, sha256
from auditor.stagelog.evaluation import parse_evaluation_set

X = torch.arange(24.0).reshape(6, 2, 2)
COLUMNS = {"id": ["f", "e", "d", "c", "b", "a"], "label": [0, 1, 2, 3, 4, 5]}


def test_parts_are_shards_of_one_set(tmp_path: Path) -> None:
    digest, found = write_in_parts(
        tmp_path, name="set", columns=COLUMNS, large="x", parts=X.split([4, 2]),
        preprocessing="a" * 64,
    )  # fmt: skip

    blobs = FolderBlobs(tmp_path / BLOBS_FOLDER)
    manifest = (tmp_path / EVALSET_FILE).read_bytes()
    shards = [
        read_tensors(blobs.read(Digest(shard.digest)), where="") for shard in found.dataset.shards
    ]
    assert parse_evaluation_set(manifest) == found
    assert sha256(manifest) == digest
    assert blobs.has(digest)
    assert torch.cat([shard["x"] for shard in shards]).equal(X)
    assert torch.cat([shard["label"] for shard in shards]).tolist() == COLUMNS["label"]
    categories = found.dataset.columns["id"].categories or ()
    codes = torch.cat([shard["id"] for shard in shards]).tolist()
    assert [categories[code] for code in codes] == COLUMNS["id"]
    assert found.dataset.preprocessing == "a" * 64
    check_evaluation_content(found, blobs)


@pytest.mark.parametrize(
    "parts", [[X[:4]], [X, X], [X[:4], X[4:, :1]], [X[:4], X[4:].double()], []]
)
def test_parts_that_differ_or_do_not_add_up_are_refused(
    tmp_path: Path, parts: list[torch.Tensor]
) -> None:
    with pytest.raises(ShapeError):
        write_in_parts(tmp_path, name="set", columns=COLUMNS, large="x", parts=parts)

    assert not (tmp_path / EVALSET_FILE).exists()


def test_a_manifest_that_could_not_be_read_again_is_refused() -> None:
    many = tuple(f"{number:020}" for number in range(800_000))
    columns = {"id": Column(dtype="int32", categories=many), "x": Column(dtype="float32")}
    dataset = Dataset(examples=1, columns=columns, shards=())

    with pytest.raises(ResourceError, match="id"):
        manifest_bytes(EvaluationSet(name="set", dataset=dataset))
