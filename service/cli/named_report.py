"""A report that a command was told: a bundle file, or one that the service has."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.stagelog.digest import parse_digest
from service.cli.bundle_reader import read_bundle
from service.cli.connect import connect

NamedReport = Annotated[
    str, typer.Argument(metavar="FILE|REPORT", help="A bundle file, or a report's digest.")
]
DigestArgument = Annotated[str, typer.Argument(metavar="REPORT", help="Digest of the report.")]


def bundle_of(report: str, *, server: str | None) -> bytes:
    """Return the bundle of a report; a file needs no service."""
    path = Path(report)
    return read_bundle(path) if path.exists() else fetch(report, server=server)


def fetch(report: str, *, server: str | None) -> bytes:
    """Return the bundle that the service has of a digest."""
    digest = parse_digest(report, where="REPORT")
    with connect(server) as client:
        return client.get_report(digest)
