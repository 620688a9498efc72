"""JSONL: what a JSON library writes is read back; everything else is named by its line."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuditorError, InputError
from auditor.record.jsonl_rows import LINE_LIMIT, read_jsonl

VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers(), max_size=3)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], ascii_only: bool, end: str
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=ascii_only) + end for row in rows]
    path.write_bytes("\n".join(lines).encode("utf-8", errors="replace"))

    found = read_jsonl(path)

    assert len(found.rows) == len(rows)
    assert found.lines == [1 + 2 * number for number in range(len(rows))]


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    path.write_bytes(data)

    with suppress(AuditorError):
        assert all(isinstance(row, dict) for row in read_jsonl(path).rows)


@pytest.mark.parametrize(
    "line", ['{"a": NaN}', '{"a": 1, "a": 2}', "[1]", "{", '"a"', "7", "[" * 100_000]
)
def test_a_line_that_is_no_plain_object_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n' + line)

    with pytest.raises(InputError, match=r"rows\.jsonl:3"):
        read_jsonl(path)


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "' + "x" * LINE_LIMIT + '"}')

    with pytest.raises(InputError, match="longer one"):
        read_jsonl(path)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b'{"a": "\xff"}')

    for name in ("absent", "binary"):
        with pytest.raises(InputError, match=name):
            read_jsonl(tmp_path / name)
