"""What commands print and how they end."""

import json
import sys

import pytest

from auditor.errors import (
    AuditorError,
    DocumentRefusedError,
    InputError,
    InternalError,
    NumericalError,
    PreconditionError,
    SignatureError,
    SubjectError,
    UnavailableError,
    UndecidedError,
)
from service.cli.output import ExitCode, emit, exit_code, fail, progress

PARTS = {"expected": "a number", "found": "[red]none", "remedy": "Give one."}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InputError, 7),
        (PreconditionError, 7),
        (SignatureError, 3),
        (DocumentRefusedError, 7),
        (UndecidedError, 3),
        (SubjectError, 4),
        (UnavailableError, 8),
        (NumericalError, 9),
        (InternalError, 9),
    ],
)
def test_exit_code_tells_the_kind_of_error(kind: type[AuditorError], code: int) -> None:
    assert exit_code(kind("field", **PARTS)) == code


def test_fail_prints_where_expected_found_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    code = fail(InputError("queries[0]", **PARTS))

    said = capsys.readouterr()
    assert code is ExitCode.REFUSED_INPUT
    assert said.out == ""
    assert all(part in said.err for part in ("queries[0]", *PARTS.values()))


def test_fail_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    fail(UnavailableError("server", **PARTS), as_json=True)

    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["exit_code"], error["remedy"]) == ("UNAVAILABLE", 8, "Give one.")


def test_emit_prints_either_json_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"b": 1, "a": "ü"}, as_json=True, human=lambda: sys.stdout.write("text\n"))
    as_json = capsys.readouterr().out
    emit({"b": 1}, as_json=False, human=lambda: sys.stdout.write("text\n"))

    assert json.loads(as_json) == {"a": "ü", "b": 1}
    assert capsys.readouterr().out == "text\n"


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("sending", unit="bytes") as update:
        update(1, 2)

    assert capsys.readouterr() == ("", "")
