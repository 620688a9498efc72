"""Which columns sub-samples are balanced over, and uniform draws where there are none."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from auditor.dynamics.drawn import drawn_positions
from auditor.dynamics.draws import subsample
from auditor.dynamics.stage_examples import StageExamples
from auditor.dynamics.tables import Table
from auditor.stagelog.dataset import Column, Dataset, Shard
from auditor.stagelog.digest import sha256

KEY = (3, "log", 10, 1)
SIZE, STEPS = 16, 8
N = SIZE * STEPS


def table(
    columns: Mapping[str, Tensor],
    *,
    categories: Mapping[str, tuple[str, ...]] = {},
    name: str = "data",
) -> Table:
    examples = len(next(iter(columns.values())))
    dataset = Dataset(
        examples=examples,
        columns={
            column: Column(
                dtype=str(values.dtype).removeprefix("torch."),
                shape=tuple(values.shape[1:]),
                categories=categories.get(column),
            )
            for column, values in columns.items()
        },
        shards=(Shard(digest=sha256(b""), count=examples),),
    )
    return Table(name=name, dataset=dataset, columns=columns)


def examples_of(*tables: Table) -> StageExamples:
    """Return a stage that uses every row of the tables once, in one random order."""
    sizes = [own.dataset.examples for own in tables]
    order = np.random.default_rng(0).permutation(sum(sizes))
    return StageExamples(
        tables=tables,
        table=np.repeat(np.arange(len(tables)), sizes)[order],
        index=np.concatenate([np.arange(size) for size in sizes])[order],
        weights=None,
        offsets=np.arange(0, sum(sizes) + 1, SIZE),
    )


def drawn(examples: StageExamples) -> tuple[np.ndarray, ...]:
    return drawn_positions(examples, target="label", fraction=0.25, key=KEY)


def uniform() -> list[list[int]]:
    seed, log, first, replica = KEY
    return [
        subsample(SIZE, fraction=0.25, key=(seed, log, first + step, replica)).tolist()
        for step in range(STEPS)
    ]


def largest_excess(examples: StageExamples, of_row: list[np.ndarray]) -> float:
    """Return how far a category's total in the draws is from a quarter of all at any step."""
    values = np.empty(N, dtype=object)
    for number, own in enumerate(of_row):
        here = examples.table == number
        values[here] = own[examples.index[here]]
    worst = 0.0
    owed: dict[object, float] = {}
    for step, positions in enumerate(drawn(examples)):
        batch = values[step * SIZE : (step + 1) * SIZE]
        for value in batch:
            owed[value] = owed.get(value, 0.0) + 0.25
        for value in batch[positions]:
            owed[value] -= 1.0
        worst = max(worst, *map(abs, owed.values()))
    return worst


def codes(categories: int, *, seed: int, examples: int = N) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(categories, (examples,), generator=generator)


def test_balanced_over_class_and_source_together() -> None:
    label, source = codes(3, seed=1), codes(2, seed=2)
    examples = examples_of(
        table({"label": label, "source": source}, categories={"source": ("own", "vendor")})
    )

    pairs = np.array([f"{a}/{b}" for a, b in zip(label.tolist(), source.tolist(), strict=True)])

    assert largest_excess(examples, [pairs]) < 1.01


def test_balanced_over_classes_without_sources_and_over_sources_without_classes() -> None:
    label = codes(4, seed=3)
    classes = examples_of(table({"label": label}))
    sources = examples_of(table({"label": torch.randn(N, dtype=torch.float64), "source": label}))

    assert largest_excess(classes, [label.numpy()]) < 1.01
    assert largest_excess(sources, [label.numpy()]) < 1.01
    assert [own.tolist() for own in drawn(classes)] == [own.tolist() for own in drawn(sources)]


@pytest.mark.parametrize(
    "target",
    [
        torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        codes(5, seed=4)[:, None].repeat(1, 6),
    ],
    ids=["regression", "tokens"],
)
def test_draws_are_uniform_without_categories(target: Tensor) -> None:
    assert [own.tolist() for own in drawn(examples_of(table({"label": target})))] == uniform()


def test_a_column_that_one_of_the_tables_lacks_is_none() -> None:
    half = N // 2
    first = {"label": torch.randn(half), "source": codes(2, seed=6, examples=half)}
    second = {"label": torch.randn(half)}

    examples = examples_of(table(first), table(second, name="other"))

    assert [own.tolist() for own in drawn(examples)] == uniform()


def test_texts_are_compared_by_what_they_say() -> None:
    # Code 0 is "own" in one table and "vendor" in the other: by codes the two would be mixed up.
    half = N // 2
    stored = [codes(2, seed=7, examples=half), codes(3, seed=8, examples=half)]
    texts = [("own", "vendor"), ("vendor", "web", "own")]
    tables = [
        table(
            {"label": torch.randn(half), "source": own}, categories={"source": said}, name=said[0]
        )
        for own, said in zip(stored, texts, strict=True)
    ]

    examples = examples_of(*tables)

    said = [np.asarray(text)[own.numpy()] for text, own in zip(texts, stored, strict=True)]
    assert largest_excess(examples, said) < 1.01
    assert largest_excess(examples, [own.numpy() for own in stored]) > 1.5


def test_uniform_draws_balance_nothing() -> None:
    examples = examples_of(table({"label": codes(4, seed=1), "source": codes(2, seed=2)}))

    found = drawn_positions(examples, target="label", fraction=0.25, key=KEY, draw="uniform")

    assert [positions.tolist() for positions in found] == uniform()
