"""Datasets as columns of tensors, and several of them side by side as one pool of examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from auditor.errors import InputError, PreconditionError, ShapeError
from auditor.model.tensors import read_tensors
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Column, Dataset
from auditor.stagelog.digest import parse_digest


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A dataset in memory.

    Attributes:
        name: What to call it in messages.
        dataset: Its description.
        columns: One tensor [examples, *shape] per column.
    """

    name: str
    dataset: Dataset
    columns: Mapping[str, Tensor]


def read_table(dataset: Dataset, blobs: BlobStore, *, name: str, device: str) -> Table:
    """Return every column of a dataset.

    Raises:
        InputError: If a shard lacks a column or has rows or a shape that the manifest denies.
        PreconditionError: If the log holds hashes in place of the examples.
    """
    if not dataset.shards:
        raise PreconditionError(
            name,
            expected="recorded examples",
            found=f"coverage {dataset.coverage.kind}",
            remedy="Ask the owner of the log for the data, or use checkpoint_delta or task_vector.",
        )
    parts: dict[str, list[Tensor]] = {column: [] for column in dataset.columns}
    for index, shard in enumerate(dataset.shards):
        where = f"{name}.shards[{index}]"
        digest = parse_digest(shard.digest, where=where)
        tensors = read_tensors(blobs.read(digest), where=where)
        for column, described in dataset.columns.items():
            tensor = tensors.get(column)
            expected = (shard.count, *described.shape)
            if tensor is None or tuple(tensor.shape) != expected:
                raise ShapeError(
                    f"{where}.{column}",
                    expected=f"shape {expected}",
                    found="no such column" if tensor is None else tuple(tensor.shape),
                    remedy="Record the dataset again.",
                )
            parts[column].append(tensor)
    columns = {c: torch.cat(p) if len(p) > 1 else p[0] for c, p in parts.items()}
    return Table(name=name, dataset=dataset, columns={c: t.to(device) for c, t in columns.items()})


def selected_rows(table: Table, columns: Mapping[str, Sequence[str | int | bool]]) -> np.ndarray:
    """Return which examples hold one of the given values in every given column, [examples] bool.

    Raises:
        InputError: If a column does not exist, is no column of single values, or never holds a
            value that is asked for.
    """
    mask = np.ones(table.dataset.examples, dtype=bool)
    for name, values in columns.items():
        described = table.dataset.columns.get(name)
        if described is None or described.shape != ():
            raise InputError(
                f"{table.name}.columns[{name}]",
                expected="a column of one value per example",
                found="none" if described is None else f"shape {described.shape}",
                remedy="Choose among " + ", ".join(_selectable(table.dataset)) + ".",
            )
        stored = table.columns[name].cpu().numpy()
        mask &= np.isin(stored, [_code(table, name, value=value) for value in values])
    return mask


def known_values(
    table: Table, name: str, *, values: Sequence[str | int | bool]
) -> tuple[str | int | bool, ...]:
    """Return the values that a column can hold: of texts its categories, of numbers any."""
    column = table.dataset.columns.get(name)
    if column is None:
        return ()
    if column.categories is not None:
        return tuple(value for value in values if value in column.categories)
    return tuple(value for value in values if not isinstance(value, str))


def require_same_columns(reference: Table, original: Table, *, names: Sequence[str]) -> None:
    """Refuse a reference whose bound columns do not fit those of the data it replaces.

    Raises:
        InputError: If a column is missing or has another dtype, shape or other categories.
    """
    for name in names:
        wanted, found = original.dataset.columns[name], reference.dataset.columns.get(name)
        if found != wanted:
            raise InputError(
                f"{reference.name}.columns[{name}]",
                expected=_describe(wanted) + f", as in {original.name}",
                found="none" if found is None else _describe(found),
                remedy="Choose a reference with the columns that the stage binds.",
            )


def _selectable(dataset: Dataset) -> list[str]:
    return sorted(name for name, column in dataset.columns.items() if column.shape == ())


def _code(table: Table, name: str, *, value: str | int | bool) -> int | bool:
    """Return how a value is stored: texts as codes."""
    categories = table.dataset.columns[name].categories
    if categories is None and not isinstance(value, str):
        return value
    if categories is not None and isinstance(value, str) and value in categories:
        return categories.index(value)
    raise InputError(
        f"{table.name}.columns[{name}]",
        expected="a number" if categories is None else "one of " + ", ".join(categories),
        found=value,
        remedy="Correct the value in `where`.",
    )


def _describe(column: Column) -> str:
    texts = "" if column.categories is None else f" with {len(column.categories)} texts"
    return f"{column.dtype}{list(column.shape)}{texts}"
