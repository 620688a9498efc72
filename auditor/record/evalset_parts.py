"""Write an evaluation set whose largest column comes in parts and is never held as a whole."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs, write_durably
from auditor.errors import ShapeError
from auditor.model.tensors import write_tensors
from auditor.record.evalset import ColumnValues, describe_column, manifest_bytes, named_as_records
from auditor.stagelog.dataset import Column, Dataset, EvaluationSet, Shard
from auditor.stagelog.digest import Digest


def write_in_parts(
    folder: Path,
    *,
    name: str,
    columns: Mapping[str, ColumnValues],
    large: str,
    parts: Iterable[Tensor],
    preprocessing: str | None = None,
) -> tuple[Digest, EvaluationSet]:
    """Return an evaluation set and its digest; it is written to a folder, a shard for each part.

    Args:
        folder: Receives ``evalset.json`` and ``blobs/``.
        name: What reports call it.
        columns: Values by column name, N in each.
        large: Name of the column that comes in parts.
        parts: Tensors [n, ...] of that column, of one shape and dtype, N rows together.
        preprocessing: Digest of what made the large column.

    Raises:
        ShapeError: If parts differ, or do not add up to N.
        ResourceError: If the manifest would be too large to be read again.
    """
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    tensors: dict[str, Tensor] = {}
    described: dict[str, Column] = {}
    for column, values in columns.items():
        tensors[column], described[column] = describe_column(column, values)
    shards: list[Shard] = []
    begin = 0
    for part in parts:
        tensor, found = describe_column(large, part)
        if described.setdefault(large, found) != found:
            raise ShapeError(
                f'columns["{large}"]',
                expected=f"{described[large].dtype} {list(described[large].shape)}, as before",
                found=f"{found.dtype} {list(found.shape)}",
                remedy="Resize all images to one size.",
            )
        end = begin + len(tensor)
        rows = {column: values[begin:end] for column, values in tensors.items()} | {large: tensor}
        _require_rows(rows, len(tensor))
        shards.append(Shard(digest=blobs.write(write_tensors(rows)), count=len(tensor)))
        begin = end
    _require_rows(tensors, begin)
    with named_as_records():
        dataset = Dataset(
            examples=begin,
            columns=described,
            shards=tuple(shards),
            preprocessing=preprocessing,
        )
        found_set = EvaluationSet(name=name, dataset=dataset)
    manifest = manifest_bytes(found_set)
    digest = blobs.write(manifest)
    write_durably(folder / EVALSET_FILE, manifest, mode=0o644)
    return digest, found_set


def _require_rows(tensors: Mapping[str, Tensor], rows: int) -> None:
    for column, values in tensors.items():
        if len(values) != rows:
            raise ShapeError(
                f'columns["{column}"]',
                expected=f"{rows} values, one an example",
                found=len(values),
                remedy="Give every column one value per example.",
            )
