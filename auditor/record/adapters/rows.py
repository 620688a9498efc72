"""Batches that say which examples they hold, through workers, shuffling and padding.

A dataset wrapped in :class:`IndexedDataset` hands out items with their positions; a collator
wrapped in :class:`IndexedCollator` puts the positions of a batch into it as :class:`Rows`; the loop
takes them out again with :func:`take_rows`. Whatever sampler, number of workers or process drew
the examples, the positions are those of what is in the batch.
"""

from collections.abc import Callable, Iterable, MutableMapping, Sequence, Sized
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate
from typing_extensions import override

from auditor.errors import StageLogError, UnsupportedError

ROWS = "stageaudit_rows"
"""Key of the positions in a batch that is a mapping."""

Collator = Callable[[list[Any]], Any]


@final
class Rows:
    """Positions of a batch's examples, [n].

    No tensor, so that nothing moves it to a device and nothing waits for it there.

    Args:
        indices: Positions in the dataset.
    """

    __slots__ = ("indices",)

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = np.asarray(indices, dtype=np.int64)


@final
class IndexedItem:
    """An item and its position.

    Args:
        index: Position in the dataset.
        item: What the dataset holds there.
    """

    __slots__ = ("index", "item")

    def __init__(self, index: int, item: object) -> None:
        self.index = index
        self.item = item


class Indexable(Protocol):
    """A map-style dataset, of torch or of Hugging Face."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401 - whatever the user's data is
        """Return one example."""


@final
class IndexedDataset(Dataset[IndexedItem]):
    """A map-style dataset whose items carry their positions.

    Args:
        dataset: The dataset; its order must not change while it is used.

    Raises:
        UnsupportedError: If it is iterable only: its examples have no positions.
    """

    def __init__(self, dataset: Indexable) -> None:
        if not has_positions(dataset):
            raise UnsupportedError(
                f"dataset {type(dataset).__name__}",
                expected="a dataset with positions (__getitem__ and __len__)",
                found="an iterable one",
                remedy="Capture what the model saw with stage.batch_tensors(...).",
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @override
    def __getitem__(self, index: int) -> IndexedItem:
        return IndexedItem(int(index), self.dataset[int(index)])

    def __getitems__(self, indices: list[int]) -> list[IndexedItem]:
        """Return several items; datasets that can do so read them together."""
        together = getattr(self.dataset, "__getitems__", None)
        items = together(indices) if together else [self.dataset[int(i)] for i in indices]
        return [IndexedItem(int(i), item) for i, item in zip(indices, items, strict=True)]


@final
class IndexedCollator:
    """A collator that puts the positions of a batch's items into the batch.

    A mapping gets the key :data:`ROWS`, a sequence one more element at its end. Items without
    positions are collated as if the wrapper were not there.

    Args:
        collate: Makes a batch of items; by default that of torch.
    """

    def __init__(self, collate: Collator = default_collate) -> None:
        self.collate = collate

    def __call__(self, items: list[Any]) -> Any:  # noqa: ANN401 - whatever the collator makes
        """Return the batch."""
        if not all(isinstance(item, IndexedItem) for item in items):
            return self.collate(items)
        batch = self.collate([item.item for item in items])
        rows = Rows([item.index for item in items])
        if isinstance(batch, MutableMapping):
            batch[ROWS] = rows
            return batch
        if isinstance(batch, list | tuple):
            return [*batch, rows]
        raise UnsupportedError(
            "collate_fn",
            expected="a mapping or a sequence",
            found=type(batch).__name__,
            remedy="Return {'x': batch} or (batch,) from the collator.",
        )


def take_rows(batch: Any) -> Rows:  # noqa: ANN401 - whatever the collator makes
    """Return the positions that a batch holds, and take them out of it.

    Args:
        batch: A batch that :class:`IndexedCollator` made, changed in place.

    Raises:
        StageLogError: If it holds none.
    """
    found: object = None
    if isinstance(batch, MutableMapping):
        found = batch.pop(ROWS, None)
    elif isinstance(batch, list) and batch and isinstance(batch[-1], Rows):
        found = batch.pop()
    if not isinstance(found, Rows):
        raise StageLogError(
            "batch",
            expected="a batch that says which examples it holds",
            found=type(batch).__name__,
            remedy="Make its loader with IndexedDataset(dataset) and "
            "collate_fn=IndexedCollator(collate_fn).",
        )
    return found


def has_positions(dataset: object) -> bool:
    """Return whether examples of a dataset can be named by their positions."""
    return (
        isinstance(dataset, Sized)
        and callable(getattr(dataset, "__getitem__", None))
        and not isinstance(dataset, IterableDataset)
    )


def collated_columns(
    dataset: Indexable, collate: Collator = default_collate, *, names: Iterable[str] = ()
) -> dict[str, Tensor]:
    """Return every example of a dataset as columns: the whole dataset collated as one batch.

    A collator that pads to the longest of a batch pads to the longest of all.

    Args:
        dataset: The examples.
        collate: The collator of the training.
        names: Names of the parts of a batch that is a sequence.

    Raises:
        UnsupportedError: If the collator makes something else than tensors by name.
    """
    items = [dataset[index] for index in range(len(dataset))]
    batch = collate(items)
    named = (
        dict(batch) if isinstance(batch, MutableMapping) else dict(zip(names, batch, strict=True))
    )
    columns = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    short = sorted(name for name, value in columns.items() if value.shape[:1] != (len(items),))
    if short or not columns:
        raise UnsupportedError(
            "collate_fn",
            expected=f"tensors with one row for each of {len(items)} examples",
            found=f"{short[0]} of shape {tuple(columns[short[0]].shape)}" if short else "none",
            remedy="Record tensors as the model sees them, with stage.batch_tensors(...).",
        )
    return columns
