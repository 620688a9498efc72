"""Rows of a file and where each stands in it; columns of numbers and texts made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from auditor.errors import InputError, ResourceError
from auditor.record.evalset import ColumnValues

Row = dict[str, Any]

FILE_LIMIT_BYTES = 2**31
ROWS_LIMIT = 10**7


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What a reader found in a file.

    Attributes:
        name: What messages call the file.
        rows: A value by column in each; of another file a column may be absent from some.
        lines: Where each row begins; None when rows are counted from 1.
    """

    name: str
    rows: Sequence[Row]
    lines: Sequence[int] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in the order in which they appear."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def place(self, index: int) -> str:
        """Return where a row stands, for messages."""
        if self.lines is None:
            return f"{self.name}: row {index + 1}"
        return f"{self.name}:{self.lines[index]}"

    def everywhere(self, column: str) -> bool:
        """Say whether every row has a column."""
        return all(column in row for row in self.rows)


def checked_table(
    name: str, rows: Sequence[Row], *, lines: Sequence[int] | None = None, remedy: str
) -> Table:
    """Return a table that has rows, and not too many.

    Raises:
        InputError: If it has none, or more than :data:`ROWS_LIMIT`.
    """
    if not 1 <= len(rows) <= ROWS_LIMIT:
        raise InputError(name, expected=f"1 to {ROWS_LIMIT} rows", found=len(rows), remedy=remedy)
    return Table(name=name, rows=rows, lines=lines)


def require_size(where: str, size_bytes: int) -> None:
    """Refuse a file that is too large to be read here.

    Raises:
        ResourceError: If it has more than 2 GiB.
    """
    if size_bytes > FILE_LIMIT_BYTES:
        raise ResourceError(
            where,
            expected=f"at most {FILE_LIMIT_BYTES} bytes",
            found=size_bytes,
            remedy="Evaluate on a sample of the data.",
        )


def text_values(table: Table, column: str) -> list[str]:
    """Return a column whose every value is a text that is not empty.

    Raises:
        InputError: Naming the first row where it is not.
    """
    for index, row in enumerate(table.rows):
        value = row.get(column)
        if not isinstance(value, str) or not value:
            raise InputError(
                f"{table.place(index)}: {column}",
                expected="a text",
                found="the columns " + ", ".join(row) if column not in row else value,
                remedy="Name the column that holds the text, and leave out rows without one.",
            )
    return [row[column] for row in table.rows]


def plain_column(table: Table, column: str) -> ColumnValues:
    """Return a column of texts, whole numbers (int64), numbers (float32), booleans, or of lists.

    Lists hold numbers and are equally long in every row, nested ones too.

    Raises:
        InputError: Naming the first row whose value is absent, no such value, of another kind than
            the first row's, or not finite.
    """

    def differs(index: int, expected: str, found: object) -> InputError:
        return _differs(f"{table.place(index)}: {column}", expected, found)

    first = _kind(table, column, 0)
    shape: tuple[int, ...] = ()
    numbers: set[str] = set()
    for index, row in enumerate(table.rows):
        kind = _kind(table, column, index)
        if kind == "list":
            kind_of_items, found = _list_kind(table, column, index)
            numbers.add(kind_of_items)
            shape = shape or found
            if found != shape:
                raise differs(index, f"a list of shape {list(shape)}", list(found))
            if "boolean" in numbers and not numbers <= {"list", "boolean"}:
                raise differs(index, "a list of booleans only, or of numbers only", row[column])
        if kind != first and {kind, first} != {"whole", "number"}:
            raise differs(index, f"a {first}, as in the row before", row[column])
        numbers.add(kind)
    values = [row[column] for row in table.rows]
    if first == "text":
        return values
    if first == "boolean" or numbers == {"list", "boolean"}:
        return np.asarray(values, dtype=np.bool_)
    return np.asarray(values, dtype=np.float32 if "number" in numbers else np.int64)


Kind = Literal["text", "boolean", "whole", "number", "list"]


def _kind(table: Table, column: str, index: int) -> Kind:
    row = table.rows[index]
    value = row.get(column)
    if isinstance(value, str):
        return "text"
    if isinstance(value, list) and value:
        return "list"
    kind = _number_kind(value)
    if kind is None:
        raise InputError(
            f"{table.place(index)}: {column}",
            expected="a text, a finite number below 2^63, a boolean or a list of numbers",
            found="nothing" if value is None else value,
            remedy="Fill in the column, or leave it out.",
        )
    return kind


def _number_kind(value: object) -> Literal["boolean", "whole", "number"] | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "whole"
    # Beyond float32 it would become infinite.
    if isinstance(value, float) and abs(value) <= float(np.finfo(np.float32).max):
        return "number"
    return None


def _list_kind(table: Table, column: str, index: int) -> tuple[str, tuple[int, ...]]:
    """Return the kind of a list's items, and its shape."""
    value = table.rows[index][column]
    items, kinds = [value], set()
    while items:
        item = items.pop()
        if isinstance(item, list):
            items.extend(item)
        else:
            kinds.add(_number_kind(item))
    try:
        shape = np.shape(value)
    except ValueError:
        shape = ()
    kind = "whole" if kinds == {"whole"} else "boolean" if kinds == {"boolean"} else "number"
    if not shape or not kinds or not kinds <= ({"whole", "number"} if kind != "boolean" else kinds):
        raise _differs(
            f"{table.place(index)}: {column}", "a list of numbers, nested ones equally long", value
        )
    return kind, shape


def _differs(where: str, expected: str, found: object) -> InputError:
    return InputError(
        where,
        expected=expected,
        found=found,
        remedy="Give the column one kind of value, of one shape, in every row.",
    )
