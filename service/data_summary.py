"""What an evaluation set holds, for people and for programs; needs ``[log]``, no torch."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs, read_file
from auditor.stagelog.dataset import Column, Dataset
from auditor.stagelog.digest import Digest, sha256
from auditor.stagelog.evaluation import parse_evaluation_set
from auditor.stagelog.tensors import tensor_entries, view

GROUPS_SHOWN = 20
"""A column with more values than this is no column of groups."""


def data_summary(folder: Path) -> dict[str, Any]:
    """Return name, digest, rows, columns, digests and groups of an evaluation set.

    Raises:
        ArtifactMissingError: If the folder holds none.
        StageLogError: If its manifest is not valid.
    """
    manifest = read_file(
        folder / EVALSET_FILE, remedy="Pass a folder that `stageaudit data` or the recorder wrote."
    )
    found = parse_evaluation_set(manifest)
    dataset = found.dataset
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    return {
        "folder": str(folder),
        "digest": sha256(manifest),
        "name": found.name,
        "examples": dataset.examples,
        "columns": {name: _column(column) for name, column in dataset.columns.items()},
        "tokenizer": dataset.tokenizer,
        "preprocessing": dataset.preprocessing,
        "bytes": sum(blobs.size(Digest(shard.digest)) for shard in dataset.shards),
        "groups": _groups(dataset, blobs),
    }


def _column(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"dtype": column.dtype, "shape": list(column.shape)}
    if column.categories is not None:
        found |= {"dtype": "text", "values": len(column.categories)}
    return found


def _groups(dataset: Dataset, blobs: FolderBlobs) -> dict[str, dict[str, int]]:
    """Return how many rows have each value, of columns with few values."""
    counts: dict[str, Counter[int]] = {
        name: Counter()
        for name, column in dataset.columns.items()
        if not column.shape and "float" not in column.dtype
    }
    for position, shard in enumerate(dataset.shards):
        data = blobs.read(Digest(shard.digest))
        entries = tensor_entries(data, where=f"dataset.shards[{position}]")
        for name in list(counts):
            values, numbers = np.unique(view(data, entries[name]), return_counts=True)
            counts[name].update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
            if len(counts[name]) > GROUPS_SHOWN:
                del counts[name]
    return {
        name: {_text(value, dataset.columns[name]): number for value, number in sorted(of.items())}
        for name, of in counts.items()
        if 2 <= len(of) < dataset.examples
    }


def _text(value: int, column: Column) -> str:
    if column.categories is not None:
        return column.categories[value]
    return str(value).lower() if column.dtype == "bool" else str(value)
