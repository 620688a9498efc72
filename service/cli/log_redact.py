"""``stageaudit log redact``: a log to hand out, without all of its data."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from auditor.edge.folder import (
    BLOBS_FOLDER,
    LOG_FILE,
    FolderBlobs,
    read_log,
    write_durably,
    write_log,
)
from auditor.errors import InputError
from auditor.stagelog.digest import digest_of
from auditor.stagelog.validate import validate
from service.cli.levels import LEVELS
from service.cli.log_check import FolderArgument, needs
from service.cli.output import JsonOption, console, emit, notices

KEY_BYTES = 32


def redact(
    folder: FolderArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the redacted log.")],
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Keep so many examples of each dataset, drawn at random."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Drives the draw of --sample.")] = 0,
    hash_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replace examples by hashes with the secret key in FILE; made if it is not there.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave a column out (repeat for more)."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this dataset (repeat for more); else all."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a log without all of its data, and say what it can no longer answer.

    The new log names the identity of the old one, which stays as it is.
    """
    try:
        from auditor.stagelog.redact import Redaction, no_longer_answerable
        from auditor.stagelog.redact import redact as redact_log
    except ImportError as error:
        raise needs("log", error, command="log redact") from error
    if (out / LOG_FILE).exists():
        raise InputError(
            str(out),
            expected="a folder without a log",
            found=LOG_FILE,
            remedy="Choose another folder.",
        )
    log, digest, blobs = read_log(folder)
    validate(log)
    redaction = Redaction(
        datasets=None if not dataset else tuple(dataset),
        sample=sample,
        seed=seed,
        key=None if hash_key is None else _key(hash_key),
        drop_columns=tuple(drop or ()),
    )
    redacted = redact_log(log, redaction, source=blobs, target=FolderBlobs(out / BLOBS_FOLDER))
    write_log(out, redacted)
    lost = no_longer_answerable(log, redacted)
    left_out = () if redacted.origin is None else redacted.origin.gaps
    result = {
        "digest": digest_of(redacted),
        "redacted_from": digest,
        "level": redacted.level,
        "level_before": log.level,
        "answers": LEVELS[redacted.level],
        "no_longer_answers": list(lost),
        "left_out": list(left_out),
    }

    def tell() -> None:
        console.print(f"log {result['digest']}", markup=False)
        console.print(f"redacted from {digest}", markup=False)
        for gap in left_out:
            console.print(f"left out: {gap}", markup=False)
        console.print(
            f"level {redacted.level} (before: {log.level}), still answers: {result['answers']}",
            markup=False,
        )
        for question in lost:
            console.print(f"no longer answers: {question}", markup=False, style="yellow")

    emit(result, as_json=as_json, human=tell)


def _key(path: Path) -> bytes:
    """Return the secret in a file; a new one if there is no file."""
    if not path.exists():
        write_durably(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
        notices.print(f"made the key {path}: keep it secret, and keep it", markup=False)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            str(path),
            expected="a readable file with the key",
            found=os.strerror(error.errno or 0),
            remedy="Check the path and its permissions.",
        ) from error
