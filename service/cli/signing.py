"""The key that a person signs with, from its file."""

from pathlib import Path

import typer
from securesystemslib.signer import Signer

from auditor.errors import AuthenticationError
from service.keys import load_private_key


def signer_of(key: Path) -> Signer:
    """Load a person's key, asking for its password if it has one."""
    try:
        return load_private_key(key)
    except AuthenticationError:
        password: str = typer.prompt(f"Password of {key.name}", hide_input=True, err=True)
        return load_private_key(key, password=password.encode())
