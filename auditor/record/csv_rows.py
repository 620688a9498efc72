"""Rows of a CSV file with a header: numbers where a whole column is one, texts elsewhere."""

import csv
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from auditor.errors import InputError
from auditor.record.table import ROWS_LIMIT, Row, Table, checked_table, require_size

DELIMITERS = (",", ";", "\t", "|")
_HEADER_LIMIT = 2**20
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_DIGITS = re.compile(r"[-+]?[0-9]+")
_BOOLEANS = {"true": True, "false": False}


def read_csv(path: Path, *, texts: Collection[str] = (), delimiter: str | None = None) -> Table:
    """Return the rows of a CSV file in UTF-8 whose first line names the columns.

    A column is of whole numbers, of numbers or of ``true`` and ``false`` where every cell is one;
    of texts otherwise, so that ``007`` stays what it is. Empty cells are absent.

    Args:
        path: The file.
        texts: Columns whose cells stay texts, even where all are numbers.
        delimiter: What separates cells; None for what the header separates its names with.

    Raises:
        InputError: If the file cannot be read, a row has more or fewer cells than the header, or
            a name stands twice or is empty.
        ResourceError: If the file is larger than 2 GiB.
    """
    try:
        require_size(str(path), path.stat().st_size)
        with path.open(encoding="utf-8-sig", newline="") as file:
            between = delimiter or _delimiter(file)
            names, cells, lines = _cells(file, delimiter=between, where=path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path),
            expected="a readable text file in UTF-8",
            found=error,
            remedy="Check the path; convert the file to UTF-8.",
        ) from error
    readers = [
        str if name in texts else _reader(row[number] for row in cells)
        for number, name in enumerate(names)
    ]
    rows: list[Row] = [
        {name: read(cell) for name, read, cell in zip(names, readers, row, strict=True) if cell}
        for row in cells
    ]
    return checked_table(
        path.name, rows, lines=lines, remedy="Write a header line and one row an example."
    )


def _delimiter(file: TextIO) -> str:
    header = file.readline(_HEADER_LIMIT)
    file.seek(0)
    return max(DELIMITERS, key=header.count)


def _cells(
    file: TextIO, *, delimiter: str, where: str
) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows, and the line in which each begins."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    cells: list[list[str]] = []
    lines: list[int] = []
    names: list[str] = []
    before = 0
    try:
        for row in reader:
            begins, before = before + 1, reader.line_num
            if not row:
                continue
            if not names:
                names = _header(row, where=f"{where}:{begins}")
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{where}:{begins}",
                    expected=f"{len(names)} cells, as in the header",
                    found=f"{len(row)} cells",
                    remedy=f"Quote cells that contain {delimiter!r} or line breaks.",
                )
            cells.append(row)
            lines.append(begins)
            if len(cells) > ROWS_LIMIT:
                break
    except csv.Error as error:
        raise InputError(
            f"{where}:{before + 1}",
            expected="cells, quoted where they contain quotes, delimiters or line breaks",
            found=str(error),
            remedy="Write it again with a CSV library; for texts beyond 131072 characters use "
            "JSONL or Parquet.",
        ) from error
    return names, cells, lines


def _header(row: list[str], *, where: str) -> list[str]:
    names = [name.strip() for name in row]
    if "" in names or len(set(names)) != len(names):
        raise InputError(
            where,
            expected="a header that names every column once",
            found=", ".join(row),
            remedy="Write the names of the columns into the first line.",
        )
    return names


def _reader(column: Iterator[str]) -> Callable[[str], Any]:
    """Return what reads the cells of a column: as numbers where all of them are."""
    known: list[Callable[[str], bool]] = [_is_whole, _is_number, _is_boolean]
    possible = [True] * len(known)
    filled = False
    for cell in column:
        if cell:
            filled = True
            possible = [able and fits(cell) for able, fits in zip(possible, known, strict=True)]
            if not any(possible):
                return str
    if not filled:
        return str
    readers: tuple[Callable[[str], Any], ...] = (int, float, lambda cell: _BOOLEANS[cell.lower()])
    return readers[possible.index(True)]


def _is_whole(cell: str) -> bool:
    return _WHOLE.fullmatch(cell) is not None and abs(int(cell)) < 2**63


def _is_number(cell: str) -> bool:
    # Digits that are no whole number here, such as 20 of them, are a name: a float would round it.
    return _is_whole(cell) or (
        _NUMBER.fullmatch(cell) is not None and _DIGITS.fullmatch(cell) is None
    )


def _is_boolean(cell: str) -> bool:
    return cell.lower() in _BOOLEANS
