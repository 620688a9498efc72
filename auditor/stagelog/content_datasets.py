"""Shards of a dataset against its description."""

import numpy as np

from auditor.errors import StageLogError
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Column, Dataset
from auditor.stagelog.digest import Digest
from auditor.stagelog.row_hashes import HASH_BYTES, HASHES
from auditor.stagelog.safetensors_header import TensorEntry
from auditor.stagelog.tensors import DTYPES, require_finite_tensor, tensor_entries, view


def check_dataset_content(dataset: Dataset, blobs: BlobStore, *, where: str) -> None:
    """Refuse shards that differ from the description of their columns.

    Raises:
        StageLogError: If a column is missing, unknown, or of another dtype or shape, or a text
            code has no category.
        NumericalError: If a value is not finite.
    """
    if dataset.coverage.hashes is not None:
        _check_hashes(dataset, dataset.coverage.hashes, blobs, where=f"{where}.coverage.hashes")
    for position, shard in enumerate(dataset.shards):
        at = f"{where}.shards[{position}]"
        data = blobs.read(Digest(shard.digest))
        entries = tensor_entries(data, where=at)
        if entries.keys() != dataset.columns.keys():
            raise StageLogError(
                at,
                expected=f"columns {', '.join(sorted(dataset.columns))}",
                found=", ".join(sorted(entries)) or "none",
                remedy="Write every column into every shard.",
            )
        for name, column in dataset.columns.items():
            _check_column(data, entries[name], column, count=shard.count, where=f"{at}.{name}")


def _check_hashes(dataset: Dataset, digest: str, blobs: BlobStore, *, where: str) -> None:
    entries = tensor_entries(blobs.read(Digest(digest)), where=where)
    entry = entries.get(HASHES)
    found = None if entry is None else (DTYPES[entry.dtype], entry.shape)
    if len(entries) != 1 or found != ("uint8", (dataset.examples, HASH_BYTES)):
        raise StageLogError(
            where,
            expected=f"one tensor {HASHES} of uint8 {[dataset.examples, HASH_BYTES]}",
            found=", ".join(entries) if found is None else f"{found[0]} {list(found[1])}",
            remedy="Redact the original log again.",
        )


def _check_column(
    data: memoryview, entry: TensorEntry, column: Column, *, count: int, where: str
) -> None:
    if DTYPES[entry.dtype] != column.dtype or entry.shape != (count, *column.shape):
        raise StageLogError(
            where,
            expected=f"{column.dtype} {[count, *column.shape]}",
            found=f"{DTYPES[entry.dtype]} {list(entry.shape)}",
            remedy="Correct the description, or write the shard again.",
        )
    require_finite_tensor(data, entry, where=where)
    if column.categories is not None:
        codes = view(data, entry)
        wrong = (codes < 0) | (codes >= len(column.categories))
        if wrong.any():
            raise StageLogError(
                where,
                expected=f"codes from 0 to {len(column.categories) - 1}",
                found=int(codes[int(np.argmax(wrong))]),
                remedy="Give every code a category.",
            )


def check_targets(
    dataset: Dataset,
    blobs: BlobStore,
    *,
    column: str,
    classes: int,
    ignored: int | None,
    where: str,
) -> None:
    """Refuse class indices that the model has no output for.

    Args:
        dataset: Whose targets are indices of classes.
        blobs: Where its shards are.
        column: The target column.
        classes: Number of the model's outputs.
        ignored: The index that the loss leaves out.
        where: Path of the dataset.

    Raises:
        StageLogError: If an index is not from 0 to ``classes`` - 1.
    """
    for position, shard in enumerate(dataset.shards):
        at = f"{where}.shards[{position}]"
        data = blobs.read(Digest(shard.digest))
        values = view(data, tensor_entries(data, where=at)[column]).reshape(-1)
        wrong = (values < 0) | (values >= classes)
        if ignored is not None:
            wrong &= values != ignored
        if wrong.any():
            raise StageLogError(
                f"{at}.{column}[{int(np.argmax(wrong))}]",
                expected=f"a class from 0 to {classes - 1}",
                found=int(values[int(np.argmax(wrong))]),
                remedy="Bind the column that holds the class, or set ignore_index.",
            )
