"""Schedules: what is written is read, and rows must be complete and in order."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import StageLogError
from auditor.stagelog.schedule import Schedule, read_schedule, write_schedule


def make_schedule(*, steps: int = 5, groups: int = 2, first_step: int = 7) -> Schedule:
    shape = (steps, groups)
    return Schedule(
        first_step=first_step,
        columns={
            "lr": np.linspace(0.1, 0.01, steps * groups).reshape(shape),
            "weight_decay": np.full(shape, 0.5),
            "momentum": np.full(shape, 0.9),
            "dampening": np.zeros(shape),
        },
    )


def table() -> pa.Table:
    return pq.read_table(pa.BufferReader(write_schedule(make_schedule())))


def as_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    result: bytes = sink.getvalue().to_pybytes()
    return result


@given(
    steps=st.integers(1, 6),
    groups=st.integers(1, 3),
    first_step=st.integers(0, 2**40),
    rate=st.floats(allow_nan=False, allow_infinity=False),
)
def test_read_undoes_write(steps: int, groups: int, first_step: int, rate: float) -> None:
    shape = (steps, groups)
    columns = {"lr": np.full(shape, rate), "weight_decay": np.zeros(shape)}

    read = read_schedule(
        write_schedule(Schedule(first_step=first_step, columns=columns)), where="s"
    )

    assert (read.first_step, read.steps, read.groups) == (first_step, steps, groups)
    np.testing.assert_array_equal(read.columns["lr"], columns["lr"])


def test_equal_schedules_have_equal_bytes() -> None:
    assert write_schedule(make_schedule()) == write_schedule(make_schedule())


def test_loss_that_is_not_known_stays_unknown() -> None:
    loss = np.array([[1.5], [np.nan], [0.5]])
    columns = {"lr": np.ones((3, 1)), "weight_decay": np.ones((3, 1)), "loss": loss}

    data = write_schedule(Schedule(first_step=0, columns=columns))

    assert pq.read_table(pa.BufferReader(data))["loss"].null_count == 1
    np.testing.assert_array_equal(read_schedule(data, where="s").columns["loss"], loss)


TABLE_DEFECTS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "missing_row": lambda t: pa.concat_tables([t.slice(0, 4), t.slice(5)]),
    "missing_last_row": lambda t: t.slice(0, t.num_rows - 1),
    "row_twice": lambda t: pa.concat_tables([t.slice(0, 3), t.slice(2)]),
    "rows_swapped": lambda t: t.take([1, 0, *range(2, t.num_rows)]),
    "no_rows": lambda t: t.slice(0, 0),
    "negative_group": lambda t: t.set_column(1, "group", pa.array([-1] * 10, pa.int32())),
    "step_is_text": lambda t: t.set_column(0, "step", pa.array(["1"] * 10)),
    "no_step": lambda t: t.drop_columns(["step"]),
    "no_lr": lambda t: t.drop_columns(["lr"]),
    "unknown_column": lambda t: t.append_column("mood", pa.array([1.0] * 10)),
    "null_lr": lambda t: t.set_column(3, "lr", pa.array([None] * 10, pa.float64())),
    "float32_lr": lambda t: t.set_column(3, "lr", pa.array([1.0] * 10, pa.float32())),
    "huge_group": lambda t: t.set_column(1, "group", pa.array([2**31 - 1] * 10, pa.int32())),
}


@pytest.mark.parametrize("damage", TABLE_DEFECTS.values(), ids=TABLE_DEFECTS.keys())
def test_table_with_a_defect_is_refused(damage: Callable[[pa.Table], pa.Table]) -> None:
    before = table()
    assert before.column_names[:2] == ["step", "group"]

    with pytest.raises(StageLogError, match=r"stages\[0\]\.schedule"):
        read_schedule(as_bytes(damage(before)), where="stages[0].schedule")


def test_first_wrong_row_is_named() -> None:
    with pytest.raises(StageLogError, match=r"rows\[4\]: expected step 9, group 0"):
        read_schedule(as_bytes(TABLE_DEFECTS["missing_row"](table())), where="s")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\x00" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(StageLogError, match="parquet"):
        read_schedule(data, where="s")


def test_write_refuses_columns_of_different_shapes() -> None:
    columns = {"lr": np.ones((3, 1)), "weight_decay": np.ones((2, 1))}

    with pytest.raises(StageLogError, match="weight_decay"):
        write_schedule(Schedule(first_step=0, columns=columns))
