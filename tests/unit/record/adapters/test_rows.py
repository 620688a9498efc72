"""Batches that say which examples they hold, whatever draws and collates them."""

import builtins
from collections.abc import Iterator
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from auditor.errors import StageLogError, UnsupportedError
from auditor.record.adapters.rows import (
    ROWS,
    IndexedCollator,
    IndexedDataset,
    collated_columns,
    take_rows,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
EXAMPLES = 23
X = torch.arange(EXAMPLES, dtype=torch.float32)[:, None] * 10


def pairs() -> TensorDataset:
    return TensorDataset(X, torch.arange(EXAMPLES) % 3)


def mappings() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"x": X.tolist()}).with_format("torch")


def summed(items: list[Any]) -> tuple[Tensor, ...]:
    return tuple(part.sum(dim=0) for part in default_collate(items))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [pairs, mappings])
def test_positions_are_those_of_what_is_in_the_batch(make: Any, workers: int) -> None:
    loader = DataLoader(
        IndexedDataset(make()), batch_size=4, shuffle=True, num_workers=workers,
        collate_fn=IndexedCollator(), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip

    seen: list[int] = []
    for batch in loader:
        rows = take_rows(batch)
        x = batch["x"] if isinstance(batch, dict) else batch[0]
        torch.testing.assert_close(x, X[rows.indices])
        seen += rows.indices.tolist()

    assert sorted(seen) == list(range(EXAMPLES))
    assert seen != sorted(seen)


def test_take_rows_leaves_the_batch_as_the_collator_made_it() -> None:
    items = [IndexedDataset(pairs())[i] for i in (3, 1)]

    batch = IndexedCollator()(items)
    rows = take_rows(batch)

    assert rows.indices.tolist() == [3, 1]
    assert builtins.all(
        torch.equal(a, b)
        for a, b in zip(batch, default_collate([item.item for item in items]), strict=True)
    )


def test_items_without_positions_are_collated_as_if_there_were_no_wrapper() -> None:
    assert ROWS not in IndexedCollator()([{"x": 1.0}, {"x": 2.0}])


def test_batch_without_positions_names_the_wrappers() -> None:
    with pytest.raises(StageLogError, match=r"IndexedDataset.*IndexedCollator"):
        take_rows({"x": X})


def test_collator_of_a_bare_tensor_is_refused() -> None:
    collate = IndexedCollator(lambda items: default_collate(items)[0])

    with pytest.raises(UnsupportedError, match="a mapping or a sequence"):
        collate([IndexedDataset(pairs())[0]])


class Stream(IterableDataset[float]):
    def __iter__(self) -> Iterator[float]:
        return iter([1.0])


def test_iterable_dataset_is_refused_with_what_to_do() -> None:
    stream: Any = Stream()

    with pytest.raises(UnsupportedError, match="batch_tensors"):
        IndexedDataset(stream)


def test_columns_are_the_whole_dataset_as_the_collator_makes_it() -> None:
    data: Any = pairs()

    columns = collated_columns(data, names=("x", "label"))

    assert torch.equal(columns["x"], X)
    assert columns["label"].tolist() == [i % 3 for i in range(EXAMPLES)]


def test_collator_that_joins_examples_has_no_columns() -> None:
    data: Any = pairs()

    with pytest.raises(UnsupportedError, match="one row for each of 23 examples"):
        collated_columns(data, summed, names=("x", "label"))
