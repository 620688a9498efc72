"""What every command prints: JSON or text on stdout, errors and progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from auditor.edge.folder import write_durably
from auditor.errors import (
    AuditorError,
    BackdatedError,
    BaselineError,
    DocumentRefusedError,
    InternalError,
    NumericalError,
    PolicyError,
    ReviewError,
    SubjectError,
    UnavailableError,
    VerificationError,
    printable,
)

PIPED_WIDTH = 120


class ExitCode(IntEnum):
    """What a caller of ``stageaudit`` may rely on (docs/howto/audit.md lists them)."""

    OK = 0
    FAIL = 1
    USAGE = 2
    SIGNATURE = 3
    SUBJECT = 4
    INVESTIGATE = 6
    REFUSED_INPUT = 7
    UNREACHABLE = 8
    AUDIT_FAILED = 9
    POLICY = 10
    BASELINE = 11
    REVIEW = 12
    BACK_DATED = 13
    DIFFERENT = 20
    NOT_REPRODUCIBLE = 21
    NOT_COMPARABLE = 22
    INTERRUPTED = 130


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout instead of text for people.")
]


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Without a terminal rich would wrap at 80 columns, which breaks tables in logs.
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


console = _console(stderr=False)
notices = _console(stderr=True)


def emit(value: BaseModel | Mapping[str, Any], *, as_json: bool, human: Callable[[], None]) -> None:
    """Print a result once: as JSON for programs, or by ``human`` for people."""
    if not as_json:
        human()
        return
    if isinstance(value, BaseModel):
        plain = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    else:
        plain = dict(value)
    sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def exit_code(error: AuditorError) -> ExitCode:
    """Return the exit code that tells a script what kind of error this was."""
    match error:
        case SubjectError():
            return ExitCode.SUBJECT
        case ReviewError():
            return ExitCode.REVIEW
        case BackdatedError():
            return ExitCode.BACK_DATED
        case BaselineError():
            return ExitCode.BASELINE
        case PolicyError():
            return ExitCode.POLICY
        case DocumentRefusedError():
            return ExitCode.REFUSED_INPUT
        case VerificationError():
            return ExitCode.SIGNATURE
        case UnavailableError():
            return ExitCode.UNREACHABLE
        case NumericalError() | InternalError():
            return ExitCode.AUDIT_FAILED
        case _:
            return ExitCode.REFUSED_INPUT


def fail(error: AuditorError, *, as_json: bool = False) -> ExitCode:
    """Say on stderr what went wrong and what to do.

    Args:
        error: What a command raised.
        as_json: Write one JSON object instead of lines for people.

    Returns:
        The exit code the process should end with.
    """
    code = exit_code(error)
    detail = {
        "code": error.code,
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
    }
    say_error(detail, code=code, as_json=as_json)
    return code


def say_error(detail: Mapping[str, str], *, code: ExitCode, as_json: bool) -> None:
    """Print where, what was expected, what was found and what to do, on stderr."""
    if as_json:
        plain = {"error": {**detail, "exit_code": int(code)}}
        sys.stderr.write(json.dumps(plain, ensure_ascii=False, sort_keys=True) + "\n")
        return
    # markup=False: the text may hold brackets that come from a user's file.
    notices.print(f"error: {detail['where']}", style="bold red", markup=False)
    notices.print(f"  expected  {detail['expected']}", markup=False)
    notices.print(f"  found     {detail['found']}", markup=False)
    notices.print(f"  {detail['remedy']}", markup=False)


def notice(text: str) -> None:
    """Say something on stderr that is no result: a hint or what is being waited for."""
    notices.print(text, markup=False, style="dim")


def keep(document: bytes, path: Path | None) -> None:
    """Write a result to the file that ``--output`` names, whole or not at all."""
    if path is not None:
        write_durably(path.absolute(), document, mode=0o644)
        notice(f"written to {path}")


@contextmanager
def progress(label: str, *, unit: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr; yields ``update(done, total)``, which may be called at any rate.

    Args:
        label: What is being done.
        unit: ``bytes`` for transfers, anything else for a count of that thing.
        quiet: Show nothing, as with ``--json``; without a terminal nothing is shown either.

    Yields:
        A function that takes how much is done and how much there is.
    """
    columns: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn())
        if unit == "bytes"
        else (MofNCompleteColumn(), TextColumn(unit))
    )
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=notices,
        disable=quiet or not notices.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def plain(text: str) -> str:
    """Return text of others without what a terminal, or rich, would obey."""
    return escape(printable(text))
