"""Whose signatures a command believes, and the files that a report is compared with."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.trust import TrustFile, trust_key
from auditor.stagelog.digest import Digest
from service.keys import TRUST_FILE, read_public_key, read_trust

TrustOption = Annotated[
    Path | None, typer.Option(help="Trust file; default: the one in your configuration folder.")
]
KeyOption = Annotated[Path | None, typer.Option(help="Trust this public key (PEM) and no other.")]


def chosen_trust(trust: Path | None, key: Path | None) -> TrustFile:
    """Return the reader's keys: one given key, or a trust file."""
    if trust is not None and key is not None:
        raise typer.BadParameter("give --trust or --key, not both", param_hint="--key")
    if key is not None:
        if not key.is_file():
            raise typer.BadParameter(f"no such file: {key}", param_hint="--key")
        return TrustFile(keys=(trust_key(read_public_key(key), name=key.name),))
    path = trust or _default_trust()
    if not path.is_file():
        raise typer.BadParameter(
            f"no trust file at {path}; pass --key PUB.pem, or add the signer's key with "
            "`stageaudit keys trust PUB.pem --name NAME`",
            param_hint="--trust",
        )
    return read_trust(path)


def _default_trust() -> Path:
    from service.config import config_folder  # loads pydantic-settings

    return config_folder() / TRUST_FILE


def digests_of(files: Sequence[str]) -> dict[str, Digest]:
    """Hash the files; a file is known by its own name, or by NAME in NAME=FILE."""
    digests: dict[str, Digest] = {}
    for argument in files:
        path = Path(argument)
        name = path.name
        if not path.exists() and "=" in argument:
            name, _, location = argument.partition("=")
            path = Path(location)
        if not path.is_file():
            raise typer.BadParameter(f"no such file: {path}", param_hint="FILE")
        if name in digests:
            raise typer.BadParameter(
                f"two files named {name}; pass one as NAME=FILE", param_hint="FILE"
            )
        with path.open("rb") as file:
            digests[name] = Digest(hashlib.file_digest(file, "sha256").hexdigest())
    return digests
