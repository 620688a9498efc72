"""A report that a command was told: a bundle file, or one that the service has."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.stagelog.digest import parse_digest
from service.cli.bundle_reader import OpenedReport, open_bundle, read_bundle, user_trust
from service.cli.connect import connect

NamedReport = Annotated[
    str, typer.Argument(metavar="FILE|REPORT", help="A bundle file, or a report's digest.")
]


def open_named(report: str, *, server: str | None) -> OpenedReport:
    """Return a report and what is known about its signature; a file needs no service."""
    path = Path(report)
    bundle = read_bundle(path) if path.exists() else fetch(report, server=server)
    return open_bundle(bundle, trust=user_trust())


def fetch(report: str, *, server: str | None) -> bytes:
    """Return the bundle that the service has of a digest."""
    digest = parse_digest(report, where="REPORT")
    with connect(server) as client:
        return client.get_report(digest)
