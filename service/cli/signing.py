"""What a person signs on the command line: with which key, when, and how it is told."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer
from pydantic import ValidationError
from securesystemslib.signer import Signer

from auditor.attest.trust import parse_time, time_text
from auditor.edge.clock import SystemClock
from auditor.errors import AuthenticationError, InputError
from auditor.stagelog.digest import Digest
from auditor.stagelog.record import Record
from auditor.stagelog.strict_json import first_problem
from service.cli.output import console, emit, keep
from service.keys import load_private_key


def signer_of(key: Path) -> Signer:
    """Load a person's key, asking for its password if it has one."""
    try:
        return load_private_key(key)
    except AuthenticationError:
        password: str = typer.prompt(f"Password of {key.name}", hide_input=True, err=True)
        return load_private_key(key, password=password.encode())


RecordT = TypeVar("RecordT", bound=Record)


def now_text() -> str:
    """Return the time of signing, as it is signed."""
    return time_text(SystemClock().now())


def until_text(expires: str) -> str:
    """Return what ``--expires`` says, as it is signed.

    Raises:
        InputError: If it is no time with a zone.
    """
    return time_text(parse_time(expires, where="--expires"), timespec="auto")


def stated(make: Callable[[], RecordT], *, what: str, expected: str) -> RecordT:
    """Return the record that options describe.

    Args:
        make: Makes it of the options.
        what: What it is called in messages.
        expected: What the options have to be.

    Raises:
        InputError: If they are not; names the first field that is wrong.
    """
    try:
        return make()
    except ValidationError as error:
        field, problem = first_problem(error, where=what)
        raise InputError(
            field,
            expected=expected,
            found=problem,
            remedy="Correct the option.",
        ) from error


def put_statement(
    statement: Record,
    bundle: bytes,
    output: Path,
    *,
    report: Digest,
    signer: Signer,
    sentence: str,
    as_json: bool,
) -> None:
    """Write a signed statement, and tell what was signed about which report."""
    keep(bundle, output)
    emit(
        {
            "report": report,
            "keyid": signer.public_key.keyid,
            "output": str(output),
            **statement.model_dump(mode="json", by_alias=True, exclude_none=True),
        },
        as_json=as_json,
        human=lambda: console.print(sentence, markup=False, soft_wrap=True),
    )
