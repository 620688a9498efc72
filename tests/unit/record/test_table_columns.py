"""Classes, ids and stacked numbers of a table."""

from typing import Any

import numpy as np
import pytest

from auditor.errors import InputError
from auditor.record.table import Table
from auditor.record.table_columns import class_column, class_of, kept_columns, stacked_column


def table(**columns: list[Any]) -> Table:
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return Table(name="rows", rows=rows)


def test_examples_are_numbered_unless_a_column_tells_them_apart() -> None:
    rows = table(key=["a", "b"], source=["x", "y"])

    numbered, named = kept_columns(rows, ["source"]), kept_columns(rows, [], ids="key")

    assert np.asarray(numbered["id"]).tolist() == [0, 1]
    assert numbered["source"] == ["x", "y"]
    assert named == {"id": ["a", "b"]}


@pytest.mark.parametrize("odd", [[1, 1], ["a", "a"], [1.5, 2.5], [[1], [2]], [True, False]])
def test_ids_tell_examples_apart(odd: list[Any]) -> None:
    with pytest.raises(InputError, match=r"row \d: key"):
        kept_columns(table(key=odd), [], ids="key")


def test_an_id_twice_names_both_rows() -> None:
    with pytest.raises(InputError, match=r"row 3: key.*row 1"):
        kept_columns(table(key=[5, 6, 5]), [], ids="key")


def test_classes_are_numbered_as_they_are_named() -> None:
    names = table(label=["dog", "cat", "dog"])

    found, classes = class_column(names, "label", classes={"dog": 0, "cat": 1})
    sorted_, by_name = class_column(names, "label", classes=None)

    assert (np.asarray(found).tolist(), classes) == ([0, 1, 0], {"dog": 0, "cat": 1})
    assert (np.asarray(sorted_).tolist(), by_name) == ([1, 0, 1], {"cat": 0, "dog": 1})


@pytest.mark.parametrize("odd", ["bird", None, 1.0, -1, True, 2**63])
def test_what_is_no_class_is_named(odd: Any) -> None:
    with pytest.raises(InputError, match="row 2: label"):
        class_column(table(label=["cat", odd]), "label", classes={"cat": 0})
    assert class_of(1, classes=None, where="here") == 1


def test_numbers_are_put_side_by_side_in_the_order_of_the_patterns() -> None:
    rows = table(b=[1, 2], p_2=[3.5, 4], p_1=[5, 6], label=[0, 1])

    found = np.asarray(stacked_column(rows, ["p_*", "b"], where="x"))

    assert found.dtype == np.float32
    assert found.tolist() == [[3.5, 5, 1], [4, 6, 2]]


@pytest.mark.parametrize("patterns", [["q_*"], ["text"], ["list"]])
def test_what_cannot_be_stacked_is_named(patterns: list[str]) -> None:
    rows = table(text=["a"], list=[[1, 2]])

    with pytest.raises(InputError, match="rows"):
        stacked_column(rows, patterns, where="x")
