"""Which examples each step used: one parquet row per step, microbatch and dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auditor.errors import StageLogError
from auditor.stagelog.schedule import read_parquet

_SCHEMA = pa.schema([
    ("step", pa.int64()),
    ("microbatch", pa.int32()),
    ("dataset", pa.string()),
    ("indices", pa.list_(pa.int64())),
    ("weights", pa.list_(pa.float64())),
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRow:
    """Examples of one dataset in one microbatch of a step.

    Attributes:
        dataset: Name of a dataset of the log.
        microbatch: Position within the step, from 0.
        indices: Rows of the dataset, [n] int64; repeats count as often as they appear.
        weights: Factor of each example's loss in the numerator, [n] float64, or None for 1.
    """

    dataset: str
    microbatch: int = 0
    indices: np.ndarray
    weights: np.ndarray | None = None


@final
class Batches:
    """The batches of one stage, by global step.

    The reduction runs over all rows of a step: loss = sum_i w_i l_i / D with D the number of
    indices of the step ("mean") or 1 ("sum").
    """

    def __init__(self, rows_per_step: Sequence[tuple[BatchRow, ...]], *, first_step: int) -> None:
        self._rows = tuple(rows_per_step)
        self.first_step = first_step

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self._rows)

    def rows(self, step: int) -> tuple[BatchRow, ...]:
        """Return the rows of a step, by its global number.

        Raises:
            StageLogError: If the step is not recorded here.
        """
        position = step - self.first_step
        if not 0 <= position < len(self._rows):
            raise StageLogError(
                "batches",
                expected=f"a step in [{self.first_step}, {self.first_step + len(self._rows)})",
                found=step,
                remedy="Use the global step number.",
            )
        return self._rows[position]

    def examples(self, step: int) -> int:
        """Return how many examples a step used, repeats counted."""
        return sum(len(row.indices) for row in self.rows(step))


def write_batches(rows_per_step: Sequence[Sequence[BatchRow]], *, first_step: int) -> bytes:
    """Return the parquet bytes of a stage's batches.

    Args:
        rows_per_step: The rows of each step, in order; a step has at least one.
        first_step: Global number of the first step.

    Raises:
        StageLogError: If a step has no examples or weights do not match their indices.
    """
    step: list[int] = []
    rows: list[BatchRow] = []
    for position, of_step in enumerate(rows_per_step):
        where = f"batches.steps[{first_step + position}]"
        if not of_step:
            raise _incomplete(where, "no batch")
        for row in of_step:
            _require_row(row, where=where)
            step.append(first_step + position)
            rows.append(row)
    weights = [None if row.weights is None else row.weights.astype(np.float64) for row in rows]
    table = pa.table(
        {
            "step": pa.array(step, pa.int64()),
            "microbatch": pa.array([row.microbatch for row in rows], pa.int32()),
            "dataset": pa.array([row.dataset for row in rows], pa.string()),
            "indices": pa.array(
                [row.indices.astype(np.int64) for row in rows], pa.list_(pa.int64())
            ),
            "weights": pa.array(weights, pa.list_(pa.float64())),
        },
        schema=_SCHEMA,
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types


def read_batches(data: bytes | memoryview, *, where: str) -> Batches:
    """Return the batches, checked: every step from the first to the last has some.

    Args:
        data: Parquet bytes.
        where: What to call it in messages, such as ``stages[1].batches``.

    Raises:
        StageLogError: If the bytes are no parquet of this layout, a step is missing or out of
            order, a row is empty, an index negative, or weights do not match their indices.
    """
    table = read_parquet(data, where=where)
    if not table.schema.equals(_SCHEMA):
        raise StageLogError(
            where,
            expected=", ".join(f"{f.name} {f.type}" for f in _SCHEMA),
            found=", ".join(f"{f.name} {f.type}" for f in table.schema),
            remedy="Write batches with auditor.stagelog.batches.write_batches.",
        )
    if table.num_rows == 0:
        raise _incomplete(where, "no rows")
    for name in ("step", "microbatch", "dataset", "indices"):
        if table[name].null_count:
            raise _incomplete(f"{where}.{name}", "a null")
    step = table["step"].to_numpy()
    jumps = np.diff(step)
    if not ((jumps == 0) | (jumps == 1)).all():
        at = int(np.argmin((jumps == 0) | (jumps == 1)))
        raise StageLogError(
            f"{where}.rows[{at + 1}]",
            expected=f"step {step[at]} or {step[at] + 1}",
            found=f"step {step[at + 1]}",
            remedy="Declare the examples of every step, in order.",
        )
    rows = _rows_of(table, step=step, where=where)
    starts = np.flatnonzero(np.append(True, jumps == 1))
    ends = np.append(starts[1:], len(rows))
    return Batches(
        [tuple(rows[a:b]) for a, b in zip(starts, ends, strict=True)], first_step=int(step[0])
    )


def _rows_of(table: pa.Table, *, step: np.ndarray, where: str) -> list[BatchRow]:
    """Return one BatchRow per table row, cut from the flat columns."""
    microbatch = table["microbatch"].to_pylist()
    dataset = table["dataset"].to_pylist()
    indices = _lists(table["indices"])
    weights = _lists(table["weights"])
    rows = [
        BatchRow(dataset=name, microbatch=m, indices=_index_array(i), weights=w)
        for name, m, i, w in zip(dataset, microbatch, indices, weights, strict=True)
    ]
    for row, k in zip(rows, step, strict=True):
        _require_row(row, where=f"{where}.steps[{k}]")
    return rows


def _lists(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """Return one read-only numpy view per list of the column, None for a null."""
    result: list[np.ndarray | None] = []
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy()
        if chunk.values.null_count:
            result += [None if v is None else np.asarray(v) for v in chunk.to_pylist()]
            continue
        values = chunk.values.to_numpy()
        valid = chunk.is_valid().to_pylist()
        result += [
            values[offsets[i] : offsets[i + 1]] if valid[i] else None for i in range(len(chunk))
        ]
    return result


def _index_array(values: np.ndarray | None) -> np.ndarray:
    return np.zeros(0, dtype=np.int64) if values is None else values


def _require_row(row: BatchRow, *, where: str) -> None:
    if row.indices.ndim != 1 or len(row.indices) == 0 or row.indices.dtype.kind not in "iu":
        raise _incomplete(where, f"indices {row.indices.dtype} {row.indices.shape}")
    if row.indices.min() < 0 or row.microbatch < 0:
        raise StageLogError(
            where, expected="indices >= 0", found=int(row.indices.min()),
            remedy="Pass positions in the dataset, counted from 0.",
        )  # fmt: skip
    if row.weights is not None and not (
        row.weights.shape == row.indices.shape
        and row.weights.dtype.kind == "f"
        and np.isfinite(row.weights).all()
    ):
        raise StageLogError(
            where,
            expected=f"{len(row.indices)} finite weights",
            found=f"{row.weights.dtype} {row.weights.shape}",
            remedy="Give one weight per index, or none.",
        )


def _incomplete(where: str, found: str) -> StageLogError:
    return StageLogError(
        where,
        expected="at least one example index in every step",
        found=found,
        remedy="Declare the examples of every step before optimizer.step().",
    )
