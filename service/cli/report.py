"""``stageaudit report``: read, fetch and list signed reports."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from auditor.stagelog.digest import parse_digest
from service.cli.bundle_reader import open_bundle, user_trust
from service.cli.connect import ServerOption, connect
from service.cli.named_report import DigestArgument, NamedReport, bundle_of, fetch
from service.cli.output import JsonOption, console, emit, keep, notice
from service.cli.repair_table import print_repair
from service.cli.report_documents import bom, card, html, link
from service.cli.report_table import print_report

app = typer.Typer(no_args_is_help=True, help="Read, fetch and list signed reports.")
app.command()(html)
app.command()(card)
app.command()(bom)
app.command()(link)


@app.command()
def show(
    report: NamedReport,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a report: effects with intervals, disagreements, limitations.

    A file is read without a service. `stageaudit verify` checks signature and files in full.
    """
    opened = open_bundle(bundle_of(report, server=server), trust=user_trust())

    def human() -> None:
        print_report(opened.content, console=console)
        print_repair(opened.content, console=console)

    emit(opened.content, as_json=as_json, human=human)
    notice(opened.note)


@app.command()
def get(
    report: DigestArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write the bundle here.", dir_okay=False)
    ],
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a signed report from the service."""
    opened = open_bundle(fetch(report, server=server), trust=user_trust())
    keep(opened.bundle, output)
    emit(
        {"report": opened.id, "path": str(output), "signer": opened.signer},
        as_json=as_json,
        human=lambda: console.print(opened.note, markup=False),
    )


@app.command("list")
def list_reports(
    log: Annotated[
        str | None, typer.Option(help="Only reports about the log with this digest.")
    ] = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the service's reports, newest first."""
    with connect(server) as client:
        wanted = None if log is None else parse_digest(log, where="--log")
        reports = client.list_reports(log=wanted)
    rows = [
        {
            "report": last_part(row["name"]),
            "audit": last_part(row["audit"]),
            "log": last_part(row["stage_log"]),
            "keyid": row["keyid"],
            "created": row["create_time"],
        }
        for row in reports
    ]

    def human() -> None:
        table = Table("report", "log", "created", box=None)
        for row in rows:
            table.add_row(row["report"], row["log"][:12], row["created"])
        console.print(table)

    emit({"reports": rows}, as_json=as_json, human=human)


def last_part(name: str) -> str:
    """Return the part of a resource name after its last slash."""
    return name.rpartition("/")[2]
