"""``stageaudit log attach``: supply what a log names but does not hold, such as a base model."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.edge.folder import map_file, read_log
from auditor.errors import InputError
from auditor.stagelog.digest import Digest, sha256
from service.cli.log_check import FolderArgument
from service.cli.output import JsonOption, console, emit


def attach(
    folder: FolderArgument,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files that the log names by digest.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Put a base model, or another file that the log only names, beside the log's blobs.

    A file counts when its SHA-256 is one that the log names; then the log can be checked, audited
    and pushed like any other.
    """
    log, _, blobs = read_log(folder)
    named = log.external or {}
    attached = []
    for file in files:
        data = map_file(file)
        digest = sha256(data)
        if digest not in named:
            raise InputError(
                str(file),
                expected=", ".join(f"{known} ({info.place})" for known, info in named.items())
                or "nothing: the log holds everything",
                found=digest,
                remedy="Pass the very file that the recorder was given.",
            )
        blobs.write(data)
        attached.append({"file": str(file), "digest": digest})
    missing = [
        {"digest": digest, "place": info.place}
        for digest, info in named.items()
        if not blobs.has(Digest(digest))
    ]

    def tell() -> None:
        for one in attached:
            console.print(f"attached {one['file']} ({one['digest']})", markup=False)
        for one in missing:
            console.print(f"still missing: {one['digest']} from {one['place']}", markup=False)

    emit({"attached": attached, "missing": missing}, as_json=as_json, human=tell)
