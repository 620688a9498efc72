"""Batches: what is written is read, and every step has examples."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import StageLogError
from auditor.stagelog.batches import BatchRow, read_batches, write_batches


def row(*indices: int, **changes: object) -> BatchRow:
    return BatchRow(**{"dataset": "train", "indices": np.array(indices), **changes})  # type: ignore[arg-type]


def weighted(weights: list[float], *indices: int) -> BatchRow:
    return row(*indices, weights=np.array(weights))


STEPS = [
    (row(3, 1, 2),),
    (weighted([0.5, 2.0], 0, 0), row(7, dataset="more")),
    (row(1), row(2, microbatch=1), row(3, microbatch=2)),
]
indices = st.lists(st.integers(0, 2**62), min_size=1, max_size=5)


def table() -> pa.Table:
    return pq.read_table(pa.BufferReader(write_batches(STEPS, first_step=10)))


def as_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def plain(rows: tuple[BatchRow, ...]) -> list[tuple[object, ...]]:
    return [
        (r.dataset, r.microbatch, r.indices.tolist(), r.weights if r.weights is None else
         r.weights.tolist())
        for r in rows
    ]  # fmt: skip


def test_read_undoes_write() -> None:
    batches = read_batches(write_batches(STEPS, first_step=10), where="b")

    assert (batches.first_step, batches.steps) == (10, 3)
    assert [plain(batches.rows(step)) for step in (10, 11, 12)] == [plain(rows) for rows in STEPS]
    assert [batches.examples(step) for step in (10, 11, 12)] == [3, 3, 3]


@given(st.lists(st.lists(indices, min_size=1, max_size=3), min_size=1, max_size=4))
def test_indices_survive(steps: list[list[list[int]]]) -> None:
    rows = [tuple(row(*chosen) for chosen in step) for step in steps]

    batches = read_batches(write_batches(rows, first_step=0), where="b")

    assert [
        [r.indices.tolist() for r in batches.rows(step)] for step in range(batches.steps)
    ] == steps


@pytest.mark.parametrize("step", [9, 13, -1])
def test_step_outside_the_stage_is_refused(step: int) -> None:
    batches = read_batches(write_batches(STEPS, first_step=10), where="b")

    with pytest.raises(StageLogError):
        batches.rows(step)


@pytest.mark.parametrize(
    "steps",
    [
        [()],
        [(row(),)],
        [(row(-1),)],
        [(row(1, microbatch=-1),)],
        [(weighted([1.0], 1, 2),)],
        [(weighted([float("nan")], 1),)],
        [(row(1), row())],
        [(BatchRow(dataset="x", indices=np.array([0.5])),)],
        [(BatchRow(dataset="x", indices=np.array([[1]])),)],
    ],
)
def test_write_refuses_incomplete_steps(steps: list[tuple[BatchRow, ...]]) -> None:
    with pytest.raises(StageLogError):
        write_batches(steps, first_step=0)


def replaced(name: str, values: list[object], kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def damage(before: pa.Table) -> pa.Table:
        return before.set_column(before.column_names.index(name), name, pa.array(values, kind))

    return damage


LISTS = pa.list_(pa.int64())
TABLE_DEFECTS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "missing_step": lambda t: pa.concat_tables([t.slice(0, 1), t.slice(3)]),
    "steps_swapped": lambda t: t.take([1, 0, 2, 3, 4, 5]),
    "no_rows": lambda t: t.slice(0, 0),
    "null_step": replaced("step", [10, 11, None, 12, 12, 12], pa.int64()),
    "null_indices": replaced("indices", [[1], [1], None, [1], [1], [1]], LISTS),
    "null_index": replaced("indices", [[1], [1], [None], [1], [1], [1]], LISTS),
    "empty_indices": replaced("indices", [[1], [1], [], [1], [1], [1]], LISTS),
    "negative_index": replaced("indices", [[1], [-1], [1], [1], [1], [1]], LISTS),
    "null_dataset": replaced("dataset", ["a", None, "a", "a", "a", "a"], pa.string()),
    "null_weight": replaced("weights", [[None, 1.0, 1.0], *[None] * 5], pa.list_(pa.float64())),
    "other_type": replaced("step", [1.0] * 6, pa.float64()),
    "no_column": lambda t: t.drop_columns(["weights"]),
    "more_columns": lambda t: t.append_column("x", pa.array([1] * 6)),
}


@pytest.mark.parametrize("damage", TABLE_DEFECTS.values(), ids=TABLE_DEFECTS.keys())
def test_table_with_a_defect_is_refused(damage: Callable[[pa.Table], pa.Table]) -> None:
    with pytest.raises(StageLogError, match=r"stages\[0\]\.batches"):
        read_batches(as_bytes(damage(table())), where="stages[0].batches")


def test_several_row_groups_are_read_as_one() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table(), sink, row_group_size=2)

    batches = read_batches(sink.getvalue().to_pybytes(), where="b")

    assert [plain(batches.rows(step)) for step in (10, 11, 12)] == [plain(rows) for rows in STEPS]
