"""Columns beside the model's inputs: classes, ids, groups, and numbers put side by side."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from auditor.errors import InputError
from auditor.record.evalset import ColumnValues
from auditor.record.table import Table, plain_column

USUAL_COLUMNS = ("source", "group", "cluster", "licence", "consent", "personal_data")
"""Columns that are taken over where every row has them."""

ID = "id"


def kept_columns(
    table: Table, names: Sequence[str], *, ids: str | None = None
) -> dict[str, ColumnValues]:
    """Return columns as they are, and ``id``.

    Args:
        table: The rows.
        names: Columns to take over: texts, numbers, booleans or lists of numbers.
        ids: Column that tells examples apart, which becomes ``id``; None to number them from 0.

    Raises:
        InputError: If a row lacks a column or holds another kind of value, or two rows have one id.
    """
    kept: dict[str, ColumnValues] = {
        ID: np.arange(len(table.rows)) if ids is None else _ids(table, ids)
    }
    return kept | {name: plain_column(table, name) for name in names if name != ID}


def class_of(value: object, *, classes: Mapping[str, int] | None, where: str) -> int:
    """Return the number of a class that is given by its number or by its name.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    if isinstance(value, str) and classes is not None and value in classes:
        return classes[value]
    raise InputError(
        where,
        expected="the number of a class" + (f", or one of {', '.join(classes)}" if classes else ""),
        found="nothing" if value is None else value,
        remedy="Write the class as a number from 0, or by its name in label2id of config.json, or "
        "name the classes with --classes.",
    )


def class_column(
    table: Table, column: str, *, classes: Mapping[str, int] | None
) -> tuple[ColumnValues, Mapping[str, int] | None]:
    """Return a column of classes, and the number of each class that has a name.

    Texts without ``classes`` are numbered in the order of the alphabet.

    Raises:
        InputError: If a row holds no class.
    """
    values = [row.get(column) for row in table.rows]
    if classes is None and all(isinstance(value, str) for value in values):
        classes = {name: number for number, name in enumerate(sorted({str(v) for v in values}))}
    numbers = [
        class_of(value, classes=classes, where=f"{table.place(index)}: {column}")
        for index, value in enumerate(values)
    ]
    return np.asarray(numbers, dtype=np.int64), classes


def stacked_column(table: Table, patterns: Sequence[str], *, where: str) -> ColumnValues:
    """Return columns of numbers side by side, [N, k] float32, in the order of the patterns.

    Args:
        table: The rows.
        patterns: Names of columns, or patterns such as ``pixel_*``, which take columns in the order
            of the file.
        where: Name of the new column.

    Raises:
        InputError: If a pattern matches no column, or one is not of numbers.
    """
    parts = []
    for pattern in patterns:
        names = [name for name in table.columns if fnmatchcase(name, pattern)]
        if not names:
            raise InputError(
                f"{table.name}: {pattern}",
                expected=f"a column to put into {where!r}",
                found=", ".join(table.columns),
                remedy="Correct the name; the columns of the file are listed here.",
            )
        for name in names:
            values = plain_column(table, name)
            if not isinstance(values, np.ndarray) or values.ndim != 1:
                raise InputError(
                    f"{table.place(0)}: {name}",
                    expected="a number in every row",
                    found=table.rows[0][name],
                    remedy=f"Leave the column out of {where!r}.",
                )
            parts.append(values.astype(np.float32))
    return np.stack(parts, axis=1)


def _ids(table: Table, column: str) -> ColumnValues:
    values = plain_column(table, column)
    first: dict[object, int] = {}
    for index, row in enumerate(table.rows):
        if isinstance(row[column], float | list | bool):
            raise InputError(
                f"{table.place(index)}: {column}",
                expected="a whole number or a text that tells the example apart",
                found=row[column],
                remedy="Name another column with --id, or leave it out to number the examples.",
            )
        before = first.setdefault(row[column], index)
        if before != index:
            raise InputError(
                f"{table.place(index)}: {column}",
                expected="an id that no other row has",
                found=f"{row[column]!r}, as in {table.place(before)}",
                remedy="Remove one of the rows, or name another column with --id.",
            )
    return values
