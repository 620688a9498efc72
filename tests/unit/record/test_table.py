"""Rows become columns of one kind; the first row of another kind is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import InputError, ResourceError
from auditor.record.table import (
    FILE_LIMIT_BYTES,
    Table,
    checked_table,
    plain_column,
    require_size,
    text_values,
)


def table(*values: Any, lines: tuple[int, ...] | None = None) -> Table:
    return Table(name="rows", rows=[{"c": value} for value in values], lines=lines)


@pytest.mark.parametrize(
    ("values", "dtype", "shape"),
    [
        ((1, 2, -3), np.int64, (3,)),
        ((1, 2.5), np.float32, (2,)),
        ((True, False), np.bool_, (2,)),
        (([1, 2], [3, 4]), np.int64, (2, 2)),
        (([1, 2.5], [3, 4]), np.float32, (2, 2)),
        (([[1.0], [2.0]], [[3.0], [4.0]]), np.float32, (2, 2, 1)),
        (([True, False], [False, False]), np.bool_, (2, 2)),
    ],
)
def test_a_column_has_the_kind_of_its_values(
    values: tuple[Any, ...], dtype: type, shape: tuple[int, ...]
) -> None:
    found = plain_column(table(*values), "c")

    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (dtype, shape)
    assert found.tolist() == np.asarray(values, dtype=dtype).tolist()


def test_texts_stay_texts() -> None:
    assert plain_column(table("1", "b"), "c") == ["1", "b"]


@pytest.mark.parametrize(
    "odd",
    [None, "a", True, [1], [], {}, float("nan"), float("inf"), 1e300, 2**63, ["a"], [1, [2]]],
)
def test_a_value_of_another_kind_is_named_with_its_line(odd: Any) -> None:
    with pytest.raises(InputError, match=r"rows:7: c"):
        plain_column(table(1, 2, odd, lines=(3, 4, 7)), "c")


@pytest.mark.parametrize("odd", [[1], [1, 2, 3], [[1], [2]], [1, "a"], [1, None], 1, "a"])
def test_lists_are_equally_long_and_of_numbers(odd: Any) -> None:
    with pytest.raises(InputError, match="row 2: c"):
        plain_column(table([1, 2], odd), "c")


def test_lists_of_booleans_and_of_numbers_do_not_mix() -> None:
    with pytest.raises(InputError, match="row 2: c"):
        plain_column(table([True], [1]), "c")


def test_an_absent_value_is_named() -> None:
    rows = Table(name="rows", rows=[{"c": 1}, {}])

    with pytest.raises(InputError, match="row 2: c") as refused:
        plain_column(rows, "c")
    assert refused.value.found == "nothing"
    assert not rows.everywhere("c")


def test_a_text_column_holds_texts_only() -> None:
    assert text_values(table("a", "b"), "c") == ["a", "b"]
    with pytest.raises(InputError, match="row 2: c"):
        text_values(table("a", ""), "c")
    with pytest.raises(InputError, match="the columns c"):
        text_values(table("a"), "d")


def test_columns_are_those_of_all_rows_in_their_order() -> None:
    assert Table(name="t", rows=[{"b": 1}, {"a": 1, "b": 2}]).columns == ("b", "a")


def test_no_rows_and_too_large_files_are_refused() -> None:
    with pytest.raises(InputError, match="rows"):
        checked_table("t", [], remedy="Write rows.")
    require_size("t", FILE_LIMIT_BYTES)
    with pytest.raises(ResourceError):
        require_size("t", FILE_LIMIT_BYTES + 1)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(_PLAIN, min_size=1, max_size=4))
def test_any_column_is_read_whole_or_refused(values: list[Any]) -> None:
    """Nothing becomes infinite, is cut or is dropped, and no other error passes."""
    try:
        found = plain_column(table(*values), "c")
    except InputError:
        return
    if isinstance(found, list):
        assert found == values
        return
    assert isinstance(found, np.ndarray)
    assert np.isfinite(found.astype(np.float64)).all()
    expected = np.asarray(values, dtype=object).reshape(-1).tolist()
    assert found.reshape(-1).tolist() == [
        pytest.approx(value, rel=1e-6, abs=1e-30) for value in expected
    ]


def test_the_place_of_a_row_is_its_line_or_its_number(tmp_path: Path) -> None:
    assert table(1, 2, lines=(4, 9)).place(1) == "rows:9"
    assert table(1, 2).place(1) == "rows: row 2"
