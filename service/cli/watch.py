"""``stageaudit watch``: wait for an audit that runs at a service, and read its answer."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.connect import ServerOption, audit_name, connect
from service.cli.output import JsonOption, console, emit, keep, notice
from service.cli.report_table import print_report

AuditArgument = Annotated[
    str, typer.Argument(metavar="AUDIT", help="Name of the audit, or its last part.")
]


def watch(
    audit: AuditArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the signed report here.", dir_okay=False),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print where it stands now, and end.")
    ] = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an audit's progress from wherever it stands, then its effects.

    The time left is an estimate from what such actions have cost lately; *at least* where rounds of
    planning can add some. Ctrl-C stops watching; the audit goes on. `stageaudit cancel` stops it.
    """
    from service.cli.remote_audit import emit_standing, fetch_report, follow

    with connect(server) as client:
        name = audit_name(client, audit)
        if once:
            if output is not None:
                raise typer.BadParameter("--once writes no report: leave out --output")
            emit_standing(client, name, as_json=as_json)
            return
        report = fetch_report(client, follow(client, name, quiet=as_json))
    emit(
        report.content,
        as_json=as_json,
        human=lambda: print_report(report.content, console=console),
    )
    notice(report.note)
    keep(report.bundle, output)
