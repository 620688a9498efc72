"""Rows of a JSONL file: one JSON object a line, checked with the number of its line."""

import json
from pathlib import Path
from typing import NoReturn

from auditor.errors import InputError
from auditor.record.table import ROWS_LIMIT, Row, Table, checked_table, require_size

LINE_LIMIT = 2**24
"""Characters of a line."""


def read_jsonl(path: Path) -> Table:
    """Return the objects of a JSONL file, in order; empty lines are passed over.

    Raises:
        InputError: If the file cannot be read, a line is no JSON object, is longer than 16 million
            characters or gives a key twice, or there is none.
        ResourceError: If the file is larger than 2 GiB.
    """
    rows: list[Row] = []
    lines: list[int] = []
    try:
        require_size(str(path), path.stat().st_size)
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            number = 0
            while line := file.readline(LINE_LIMIT + 1):
                number += 1
                if line.strip():
                    rows.append(_row(line, where=f"{path.name}:{number}"))
                    lines.append(number)
                if len(rows) > ROWS_LIMIT:
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path),
            expected="a readable text file in UTF-8",
            found=error,
            remedy="Check the path; convert the file to UTF-8.",
        ) from error
    return checked_table(path.name, rows, lines=lines, remedy="Write one JSON object a line.")


def _row(line: str, *, where: str) -> Row:
    if len(line) > LINE_LIMIT:
        raise InputError(
            where,
            expected=f"a line of at most {LINE_LIMIT} characters",
            found="a longer one",
            remedy="Write one JSON object a line, with a line break behind each.",
        )
    try:
        row = json.loads(line, object_pairs_hook=_once, parse_constant=_refuse)
        if "\\u" in line:  # half a character, which no file in UTF-8 can hold again
            json.dumps(row, ensure_ascii=False).encode()
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


def _once(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice")
    return row


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant}, which is no JSON number")
