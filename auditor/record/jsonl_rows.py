"""Rows of a JSONL file: one JSON object a line, checked with the number of its line."""

import json
from pathlib import Path
from typing import Any

from auditor.errors import InputError, ResourceError

FILE_LIMIT_BYTES = 2**31
ROWS_LIMIT = 10**7

Row = dict[str, Any]


def read_jsonl(path: Path) -> list[Row]:
    """Return the objects of a JSONL file, in order; empty lines are passed over.

    Raises:
        InputError: If the file cannot be read, a line is no JSON object, or there is none.
        ResourceError: If the file is larger than 2 GiB or has more than ten million rows.
    """
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT_BYTES:
            raise ResourceError(
                str(path),
                expected=f"at most {FILE_LIMIT_BYTES} bytes",
                found=size,
                remedy="Evaluate on a sample of the data.",
            )
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path),
            expected="a readable text file in UTF-8",
            found=error,
            remedy="Check the path; convert the file to UTF-8.",
        ) from error
    rows = [
        _row(line, where=f"{path.name}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not 1 <= len(rows) <= ROWS_LIMIT:
        raise InputError(
            str(path),
            expected=f"1 to {ROWS_LIMIT} rows",
            found=len(rows),
            remedy="Write one JSON object a line.",
        )
    return rows


def text_values(rows: list[Row], column: str, *, where: str) -> list[str]:
    """Return a column whose every value is a text that is not empty.

    Raises:
        InputError: Naming the first row where it is not.
    """
    for number, row in enumerate(rows, start=1):
        value = row.get(column)
        if not isinstance(value, str) or not value:
            raise InputError(
                f"{where}: row {number}: {column}",
                expected="a text",
                found=", ".join(row) if column not in row else value,
                remedy="Name the column that holds the text, and leave out rows without one.",
            )
    return [row[column] for row in rows]


def _row(line: str, *, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            where,
            expected="a JSON object",
            found=str(error),
            remedy="Write one JSON object a line, without line breaks inside it.",
        ) from error
    if not isinstance(row, dict):
        raise InputError(
            where,
            expected="a JSON object",
            found=type(row).__name__,
            remedy='Write rows such as {"text": "...", "label": 1}.',
        )
    return row
