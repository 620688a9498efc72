"""Write examples as columns: datasets of a log and evaluation sets."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs, write_durably
from auditor.errors import ResourceError, ShapeError, UnsupportedError
from auditor.model.tensors import write_tensors
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Column, Coverage, Dataset, EvaluationSet, Shard
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.strict_json import MAX_BYTES, refusal


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CodedTexts:
    """Texts by their position among categories that another dataset fixed.

    Attributes:
        codes: [N], whole numbers.
        categories: Every text that may occur, in its order.
    """

    codes: np.ndarray
    categories: tuple[str, ...]


ColumnValues = Tensor | np.ndarray | CodedTexts | Sequence[str] | Sequence[int] | Sequence[float]
"""One value per example: a tensor [N, ...], an array [N, ...], or a list of N texts or numbers."""

_RESERVED = "__metadata__"
SHARD_BYTES = 64 * 2**20

DTYPE_NAMES = {
    torch.float64: "float64", torch.float32: "float32", torch.float16: "float16",
    torch.bfloat16: "bfloat16", torch.int64: "int64", torch.int32: "int32", torch.int16: "int16",
    torch.int8: "int8", torch.uint8: "uint8", torch.bool: "bool",
}  # fmt: skip
"""Name in a manifest of each dtype that can be recorded."""


def write_dataset(
    columns: Mapping[str, ColumnValues],
    blobs: BlobStore,
    *,
    coverage: Coverage | None = None,
    shard_bytes: int = SHARD_BYTES,
    tokenizer: str | None = None,
) -> Dataset:
    """Return the manifest entry of examples whose shards are written to ``blobs``.

    Args:
        columns: Values by column name, the same number N >= 1 in each; texts become codes.
        blobs: Where shards go.
        coverage: How much of the data this is; everything by default.
        shard_bytes: A shard holds as many examples as fit into this, at least one.
        tokenizer: Digest of the tokenizer that made the columns, if one did.

    Raises:
        ShapeError: If columns have different lengths or none has any value.
        UnsupportedError: If values have a dtype that cannot be recorded.
    """
    tensors: dict[str, Tensor] = {}
    described: dict[str, Column] = {}
    for name, values in columns.items():
        tensors[name], described[name] = describe_column(name, values)
    examples = _common_length(tensors)
    row_bytes = sum(t[:1].numel() * t.element_size() for t in tensors.values())
    rows = max(1, shard_bytes // max(1, row_bytes))
    shards = tuple(
        Shard(
            digest=blobs.write(
                write_tensors({n: t[begin : begin + rows] for n, t in tensors.items()})
            ),
            count=min(rows, examples - begin),
        )
        for begin in range(0, examples, rows)
    )
    with named_as_records():
        return Dataset(
            examples=examples,
            columns=described,
            shards=shards,
            coverage=coverage or Coverage(),
            tokenizer=tokenizer,
        )


def write_evaluation_set(
    name: str,
    columns: Mapping[str, ColumnValues],
    blobs: BlobStore,
    *,
    tokenizer: str | None = None,
) -> Digest:
    """Return the digest of an evaluation set's manifest; it and its shards are written.

    The digest is what a query names as ``data``.

    Args:
        name: What reports call it.
        columns: Values by column name; ``id`` aligns the rows of a probe's two sets.
        blobs: Where everything goes.
        tokenizer: Digest of the tokenizer that made the columns, if one did.
    """
    dataset = write_dataset(columns, blobs, tokenizer=tokenizer)
    with named_as_records():
        manifest = EvaluationSet(name=name, dataset=dataset)
    return blobs.write(manifest_bytes(manifest))


@contextmanager
def named_as_records() -> Iterator[None]:
    """Translate what a manifest refuses: a name that is empty, too long or not printable."""
    try:
        yield
    except ValidationError as error:
        raise refusal(error, where="dataset") from error


def manifest_bytes(evaluation_set: EvaluationSet) -> bytes:
    """Return a manifest that readers will accept.

    Raises:
        ResourceError: If it is too large, which texts with many values make it.
    """
    manifest = canonical_bytes(evaluation_set)
    if len(manifest) > MAX_BYTES:
        texts = evaluation_set.dataset.columns
        longest = max(texts, key=lambda name: len(texts[name].categories or ()))
        raise ResourceError(
            f'columns["{longest}"]',
            expected=f"a manifest of at most {MAX_BYTES} bytes",
            found=f"{len(manifest)} bytes with {len(texts[longest].categories or ())} texts",
            remedy="Leave the column out, or write numbers instead of texts.",
        )
    return manifest


def save_evaluation_set(folder: Path, name: str, columns: Mapping[str, ColumnValues]) -> Digest:
    """Return the digest of an evaluation set that is written into a folder of its own.

    Args:
        folder: Holds ``evalset.json`` and ``blobs/`` afterwards; ``stageaudit push`` takes it.
        name: What reports call it.
        columns: Values by column name.
    """
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    digest = write_evaluation_set(name, columns, blobs)
    write_durably(folder / EVALSET_FILE, blobs.read(digest), mode=0o644)
    return digest


def describe_column(name: str, values: ColumnValues) -> tuple[Tensor, Column]:
    """Return a column as a tensor [N, ...] on the CPU and its description.

    Raises:
        UnsupportedError: If the dtype or the name cannot be recorded.
        ShapeError: If the values are a single number.
    """
    if name == _RESERVED:
        raise UnsupportedError(
            f'columns["{name}"]',
            expected="another name: safetensors keeps notes under this one",
            found=name,
            remedy="Rename the column.",
        )
    categories: tuple[str, ...] | None = None
    if isinstance(values, CodedTexts):
        categories = values.categories
        tensor = torch.from_numpy(np.ascontiguousarray(values.codes, dtype=np.int32))
    elif isinstance(values, Tensor):
        tensor = values.detach().cpu()
    else:
        array = np.asarray(values)
        if array.dtype.kind in "UO":
            categories, array = _codes(name, array)
        if array.dtype.name not in DTYPE_NAMES.values():
            raise _unrecordable(name, str(array.dtype))
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.dtype not in DTYPE_NAMES:
        raise _unrecordable(name, str(tensor.dtype))
    if tensor.dim() == 0:
        raise ShapeError(
            f'columns["{name}"]',
            expected="one value per example",
            found="a single number",
            remedy="Repeat it for every example.",
        )
    column = Column.model_validate({
        "dtype": DTYPE_NAMES[tensor.dtype],
        "shape": tuple(tensor.shape[1:]),
        "categories": categories,
    })
    return tensor, column


def _codes(name: str, texts: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the sorted categories and each text's position among them."""
    if not all(isinstance(text, str) for text in texts.reshape(-1).tolist()):
        raise _unrecordable(name, "mixed values")
    categories, codes = np.unique(texts.astype(str), return_inverse=True)
    return tuple(categories.tolist()), codes.reshape(texts.shape).astype(np.int32)


def _common_length(tensors: Mapping[str, Tensor]) -> int:
    lengths = {name: tensor.shape[0] for name, tensor in tensors.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ShapeError(
            "columns",
            expected="columns with the same number of examples, at least one",
            found=lengths,
            remedy="Give every column one value per example.",
        )
    return next(iter(lengths.values()))


def _unrecordable(name: str, found: str) -> UnsupportedError:
    return UnsupportedError(
        f'columns["{name}"]',
        expected=f"text or one of {', '.join(DTYPE_NAMES.values())}",
        found=found,
        remedy="Convert the column before it is recorded.",
    )
