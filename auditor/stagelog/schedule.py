"""Hyperparameters as they were used: one parquet row per step and parameter group."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auditor.errors import StageLogError
from auditor.stagelog.optimizer_columns import ADAM_COLUMNS, SGD_COLUMNS

MAX_ROWS = 10**7

OPTIONAL_COLUMNS = ("clip_norm", "loss", "grad_norm", "denominator", "loss_scale")
"""Facts beside the arithmetic; a value that was not available is null in the file, NaN here."""

_KNOWN = frozenset((*SGD_COLUMNS, *ADAM_COLUMNS, *OPTIONAL_COLUMNS))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The hyperparameters of one stage.

    Attributes:
        first_step: Global number of the first step.
        columns: Name -> [steps, groups] float64.
    """

    first_step: int
    columns: Mapping[str, np.ndarray]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.columns["lr"].shape[0])

    @property
    def groups(self) -> int:
        """Number of parameter groups."""
        return int(self.columns["lr"].shape[1])


def write_schedule(schedule: Schedule) -> bytes:
    """Return the parquet bytes of a schedule; rows are ordered by step, then group.

    Raises:
        StageLogError: If columns are unknown, missing or of different shapes.
    """
    _require_columns(tuple(schedule.columns), where="schedule")
    shape = schedule.columns["lr"].shape
    for name, values in schedule.columns.items():
        if values.shape != shape or values.ndim != 2:
            raise StageLogError(
                f"schedule.{name}",
                expected=f"an array [steps, groups] of shape {shape}",
                found=f"shape {values.shape}",
                remedy="Give every column one value per step and group.",
            )
    steps, groups = shape
    step = np.repeat(np.arange(schedule.first_step, schedule.first_step + steps), groups)
    group = np.tile(np.arange(groups, dtype=np.int32), steps)
    arrays = {"step": pa.array(step, pa.int64()), "group": pa.array(group, pa.int32())}
    for name in sorted(schedule.columns):
        flat = np.ascontiguousarray(schedule.columns[name], dtype=np.float64).reshape(-1)
        missing = np.isnan(flat) if name in OPTIONAL_COLUMNS else None
        arrays[name] = pa.array(flat, pa.float64(), mask=missing)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types


def read_schedule(data: bytes | memoryview, *, where: str) -> Schedule:
    """Return the schedule, its rows checked to be complete and in order.

    Args:
        data: Parquet bytes.
        where: What to call it in messages, such as ``stages[1].schedule``.

    Raises:
        StageLogError: If the bytes are no parquet, columns are wrong, or a row is missing, twice
            there or out of order.
    """
    table = read_parquet(data, where=where)
    names = tuple(table.column_names)
    _require_columns(tuple(n for n in names if n not in {"step", "group"}), where=where)
    step = _integers(table, "step", where=where)
    group = _integers(table, "group", where=where)
    if len(step) == 0:
        raise StageLogError(
            where, expected="at least one row", found="none", remedy="Record the stage again."
        )
    first_step = int(step[0])
    groups = int(group.max()) + 1
    position = np.arange(len(step), dtype=np.int64)
    right = (
        (step == first_step + position // groups) & (group == position % groups)
        if groups > 0 else np.zeros(len(step), dtype=bool)
    )  # fmt: skip
    if len(step) % max(groups, 1) != 0:
        right = np.append(right, np.array([False]))
    if not right.all():
        row = int(np.argmin(right))
        raise StageLogError(
            f"{where}.rows[{row}]",
            expected=f"step {first_step + row // max(groups, 1)}, group {row % max(groups, 1)} "
            "(rows ordered by step, then group, none missing)",
            found=f"step {step[row]}, group {group[row]}" if row < len(step) else "the end",
            remedy="Record every group's hyperparameters at every step.",
        )
    columns = {
        name: _numbers(table, name, where=where).reshape(-1, groups)
        for name in names
        if name not in {"step", "group"}
    }
    return Schedule(first_step=first_step, columns=columns)


def read_parquet(data: bytes | memoryview, *, where: str) -> pa.Table:
    """Return a pyarrow table after a look at its footer; too many rows are refused.

    Raises:
        StageLogError: If the bytes are no parquet or hold more than ``MAX_ROWS`` rows.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
        if file.metadata.num_rows > MAX_ROWS:
            raise StageLogError(
                where,
                expected=f"at most {MAX_ROWS} rows",
                found=file.metadata.num_rows,
                remedy="Split the stage.",
            )
        return file.read()
    except (pa.ArrowException, OSError) as error:
        raise StageLogError(
            where,
            expected="a parquet file",
            found=str(error),
            remedy="Record the stage again or restore the blob.",
        ) from error


def _require_columns(names: tuple[str, ...], *, where: str) -> None:
    unknown = sorted(set(names) - _KNOWN)
    if unknown or not {"lr", "weight_decay"} <= set(names) or len(set(names)) != len(names):
        raise StageLogError(
            where,
            expected="columns lr, weight_decay and those of the optimizer, once each",
            found=", ".join(unknown or names),
            remedy="Use the columns named in docs/reference/stagelog.md.",
        )


def _integers(table: pa.Table, name: str, *, where: str) -> np.ndarray:
    if name not in table.column_names or not pa.types.is_integer(table[name].type):
        raise StageLogError(
            f"{where}.{name}",
            expected="an integer column",
            found="none" if name not in table.column_names else str(table[name].type),
            remedy="Write the schedule with auditor.stagelog.schedule.write_schedule.",
        )
    if table[name].null_count:
        raise StageLogError(
            f"{where}.{name}", expected="no nulls", found="a null", remedy="Record the stage again."
        )
    return np.asarray(table[name].to_numpy(), dtype=np.int64)


def _numbers(table: pa.Table, name: str, *, where: str) -> np.ndarray:
    column = table[name]
    if column.type != pa.float64() or (column.null_count and name not in OPTIONAL_COLUMNS):
        raise StageLogError(
            f"{where}.{name}",
            expected="a float64 column without nulls",
            found=f"{column.type} with {column.null_count} nulls",
            remedy="Write the schedule with auditor.stagelog.schedule.write_schedule.",
        )
    return np.asarray(column.to_numpy(), dtype=np.float64)
