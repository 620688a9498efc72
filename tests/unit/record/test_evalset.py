"""Examples as columns: dtypes, texts, shards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs
from auditor.errors import AuditorError, ShapeError, UnsupportedError
from auditor.model.tensors import read_tensors
from auditor.record.evalset import save_evaluation_set, write_dataset, write_evaluation_set
from auditor.stagelog.content import check_evaluation_content
from auditor.stagelog.digest import Digest, sha256
from auditor.stagelog.evaluation import parse_evaluation_set
from tests.support.memory_blobs import MemoryBlobs


@pytest.mark.parametrize(
    ("values", "dtype", "shape"),
    [
        (torch.zeros(3, 2), "float32", (2,)),
        (torch.zeros(3, 2, 2, dtype=torch.bfloat16), "bfloat16", (2, 2)),
        (np.zeros(3), "float64", ()),
        (np.zeros((3, 1), np.uint8), "uint8", (1,)),
        ([1, 2, 3], "int64", ()),
        ([1.0, 2.0, 3.0], "float64", ()),
        ([True, False, True], "bool", ()),
    ],
)
def test_column_keeps_its_dtype_and_shape(values: Any, dtype: str, shape: tuple[int, ...]) -> None:
    column = write_dataset({"c": values}, MemoryBlobs()).columns["c"]

    assert (column.dtype, column.shape, column.categories) == (dtype, shape, None)


@pytest.mark.parametrize("texts", [["b", "a", "b"], np.array(["b", "a", "b"])])
def test_texts_become_codes_of_sorted_categories(texts: Any) -> None:
    blobs = MemoryBlobs()

    dataset = write_dataset({"source": texts}, blobs)

    assert dataset.columns["source"].categories == ("a", "b")
    stored = read_tensors(blobs.read(Digest(dataset.shards[0].digest)), where="shard")
    assert stored["source"].tolist() == [1, 0, 1]


def test_shards_hold_the_examples_in_order() -> None:
    blobs = MemoryBlobs()
    x = torch.arange(20.0).reshape(10, 2)

    dataset = write_dataset({"x": x, "i": torch.arange(10)}, blobs, shard_bytes=3 * 16)

    assert [shard.count for shard in dataset.shards] == [3, 3, 3, 1]
    parts = [read_tensors(blobs.read(Digest(s.digest)), where="s") for s in dataset.shards]
    assert torch.equal(torch.cat([part["x"] for part in parts]), x)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"a": [1], "b": [1, 2]}, ShapeError),
        ({"a": []}, ShapeError),
        ({}, ShapeError),
        ({"a": torch.zeros(())}, ShapeError),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, UnsupportedError),
        ({"a": np.zeros(2, np.longdouble)}, UnsupportedError),
        ({"a": np.array(["x", 1], dtype=object)}, UnsupportedError),
        ({"a": np.zeros(2, "datetime64[s]")}, UnsupportedError),
    ],
)
def test_columns_that_cannot_be_recorded_are_refused(
    columns: dict[str, Any], error: type[AuditorError]
) -> None:
    with pytest.raises(error):
        write_dataset(columns, MemoryBlobs())


def test_evaluation_set_is_named_by_its_manifest() -> None:
    blobs = MemoryBlobs()

    digest = write_evaluation_set("held-out", {"x": torch.zeros(4, 2)}, blobs)

    evaluation = parse_evaluation_set(blobs.read(digest))
    check_evaluation_content(evaluation, blobs)
    assert (evaluation.name, evaluation.dataset.examples) == ("held-out", 4)


def test_saved_evaluation_set_is_a_folder(tmp_path: Path) -> None:
    digest = save_evaluation_set(tmp_path / "set", "held-out", {"x": torch.zeros(4, 2)})

    data = (tmp_path / "set" / EVALSET_FILE).read_bytes()
    assert sha256(data) == digest
    check_evaluation_content(
        parse_evaluation_set(data), FolderBlobs(tmp_path / "set" / BLOBS_FOLDER)
    )
