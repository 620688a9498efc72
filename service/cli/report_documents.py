"""``stageaudit report html``, ``card`` and ``bom``: a report as a page or for other documents."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from auditor.checks import needs_extra
from auditor.edge.clock import Clock, SystemClock
from auditor.page.bill_of_materials import bill_of_materials
from auditor.page.facts import PageFacts, verified_facts
from auditor.page.model_card import model_card
from service.cli.bundle_reader import OpenedReport
from service.cli.connect import ServerOption
from service.cli.named_report import NamedReport, open_named
from service.cli.output import JsonOption, console, emit, keep, notice

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write here instead of printing.", dir_okay=False),
]


def html(
    report: NamedReport,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write the page here.", dir_okay=False)
    ],
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report as one HTML page: no script, nothing loaded, readable on paper.

    The page says whether the signature verified now. It is not signed itself: hand out the bundle
    with it.
    """
    with needs_extra("report", purpose="A report's page"):
        from auditor.page.render import render_page
    opened = open_named(report, server=server)
    page = render_page(opened.content, facts_of(opened, clock=SystemClock())).encode()
    keep(page, output)
    emit(
        {
            "report": opened.id,
            "path": str(output),
            "size_bytes": len(page),
            "signer": opened.signer,
        },
        as_json=as_json,
        human=lambda: console.print(opened.note, markup=False),
    )


def card(report: NamedReport, output: OutputOption = None, server: ServerOption = None) -> None:
    """Print a report as a part of a model card, in Markdown."""
    opened = open_named(report, server=server)
    _put(model_card(opened.content, facts_of(opened, clock=SystemClock())), output)
    notice(opened.note)


def bom(report: NamedReport, output: OutputOption = None, server: ServerOption = None) -> None:
    """Print a report as a machine-learning bill of materials, CycloneDX 1.6 in JSON."""
    opened = open_named(report, server=server)
    _put(bill_of_materials(opened.content, facts_of(opened, clock=SystemClock())), output)
    notice(opened.note)


def facts_of(opened: OpenedReport, *, clock: Clock) -> PageFacts:
    """Return what a document says of the report's signature, now."""
    made = clock.now().strftime("%Y-%m-%d %H:%M UTC")
    if opened.verification is not None:
        return verified_facts(opened.verification, made=made)
    return PageFacts(report_id=opened.id, keyid=opened.keyid, subjects=opened.subjects, made=made)


def _put(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        keep(text.encode(), output)
