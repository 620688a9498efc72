"""Parquet: what pyarrow writes is read back; other kinds and damaged files are refused."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuditorError, InputError
from auditor.record.parquet_rows import BLOCK_ROWS, read_parquet

ROWS = st.fixed_dictionaries({
    "text": st.none() | st.text(max_size=5),
    "number": st.none() | st.floats(allow_nan=False),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "vector": st.lists(st.integers(0, 9), min_size=2, max_size=2),
})


@given(st.lists(ROWS, min_size=1, max_size=6))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)

    found = [dict(row) for row in read_parquet(path).rows]

    assert found == [{k: v for k, v in row.items() if v is not None} for row in rows]


def test_only_the_columns_that_are_asked_for_are_read_and_progress_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    count = BLOCK_ROWS + 3
    pq.write_table(
        pa.table({"a": list(range(count)), "when": pa.array([1] * count, pa.date32())}), path
    )
    told: list[tuple[int, int]] = []

    found = read_parquet(
        path, columns=["a", "none"], on_progress=lambda done, total: told.append((done, total))
    )

    assert found.columns == ("a",)
    assert [row["a"] for row in found.rows] == list(range(count))
    assert told == [(BLOCK_ROWS, count), (count, count)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.date32()),
        pa.array([b"x"]),
        pa.array([{"a": 1}]),
        pa.array([{"a": 1}], pa.map_(pa.string(), pa.int64())),
        pa.array([[b"x"]]),
    ],
)
def test_other_kinds_are_refused_by_the_name_of_the_column(
    tmp_path: Path, column: pa.Array
) -> None:
    pq.write_table(pa.table({"odd": column}), tmp_path / "rows.parquet")

    with pytest.raises(InputError, match=r"rows\.parquet: odd"):
        read_parquet(tmp_path / "rows.parquet")


def test_texts_may_be_stored_as_codes(tmp_path: Path) -> None:
    codes = pa.array(["a", "b", "a"]).dictionary_encode()
    pq.write_table(pa.table({"c": codes}), tmp_path / "rows.parquet")

    assert [row["c"] for row in read_parquet(tmp_path / "rows.parquet").rows] == ["a", "b", "a"]


def test_no_rows_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": pa.array([], pa.int64())}), tmp_path / "rows.parquet")

    with pytest.raises(InputError, match="rows"):
        read_parquet(tmp_path / "rows.parquet")


@given(st.data())
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), path)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])

    with suppress(AuditorError):
        assert len(read_parquet(path).rows) >= 1
