"""CSV: what the library writes is read back, with kinds by column; bad rows by their line."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuditorError, InputError
from auditor.record.csv_rows import DELIMITERS, read_csv

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1, max_size=8)


def written(path: Path, text: str) -> Path:
    path.write_text(text, newline="")
    return path


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from(DELIMITERS))
def test_texts_that_are_written_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["first", "second"])
        writer.writerows(rows)

    found = read_csv(path, texts=("first", "second"))

    assert [(row["first"], row["second"]) for row in found.rows] == rows


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    path.write_bytes(data)

    with suppress(AuditorError):
        assert len(read_csv(path).rows) >= 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("1", "-2"), [1, -2]),
        (("1", "2.5e3"), [1.0, 2500.0]),
        (("true", "False"), [True, False]),
        (("007", "1"), ["007", "1"]),
        (("00.5", "1"), ["00.5", "1"]),
        (("+1", "1.5"), ["+1", "1.5"]),
        (("12345678901234567890", "1"), ["12345678901234567890", "1"]),
        ((".5", "1."), [0.5, 1.0]),
        (("1", "x"), ["1", "x"]),
        (("1", "nan"), ["1", "nan"]),
        (("9223372036854775807", "1"), [2**63 - 1, 1]),
        (("1_000", "1"), ["1_000", "1"]),
        (("\u0661", "1"), ["\u0661", "1"]),
    ],
)
def test_a_column_is_of_numbers_where_all_its_cells_are(
    tmp_path: Path, cells: tuple[str, str], expected: list[Any]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "".join(f"{cell},x\n" for cell in cells), encoding="utf-8")

    assert [row["a"] for row in read_csv(path).rows] == expected
    assert [row["a"] for row in read_csv(path, texts=["a"]).rows] == list(cells)


def test_an_empty_cell_is_absent(tmp_path: Path) -> None:
    found = read_csv(written(tmp_path / "rows.csv", "a,b\n1,\n,2\n"))

    assert list(found.rows) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a,b\n1,2\n3\n", "rows.csv:3"),
        ('a,b\n1,"2\n\n"\n3,4,5\n', "rows.csv:5"),
        ('a,b\n1,2\n3,"4\n', "rows.csv:3"),
        ("a,a\n1,2\n", "rows.csv:1"),
        ("a,\n1,2\n", "rows.csv:1"),
        ("a,b\n1," + "x" * 200_000 + "\n", "rows.csv:2"),
        ("a,b\n", "rows.csv"),
        ("", "rows.csv"),
    ],
)
def test_a_row_of_another_form_is_named_by_its_first_line(
    tmp_path: Path, text: str, where: str
) -> None:
    with pytest.raises(InputError) as refused:
        read_csv(written(tmp_path / "rows.csv", text))

    assert refused.value.where == where


def test_rows_know_the_line_in_which_they_begin(tmp_path: Path) -> None:
    found = read_csv(written(tmp_path / "rows.csv", 'a,b\n\n1,"two\nlines"\n3,4\n'))

    assert found.lines == [3, 5]
    assert found.place(1) == "rows.csv:5"


def test_the_delimiter_may_be_said(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "a,b;c\n1,2;3\n")

    assert read_csv(path, delimiter=";").columns == ("a,b", "c")
