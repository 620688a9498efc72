"""``stageaudit report html``, ``card``, ``bom`` and ``link``: a report as a page or a document."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.attest.trust import TrustFile
from auditor.checks import needs_extra
from auditor.edge.clock import SystemClock
from auditor.page.bill_of_materials import bill_of_materials
from auditor.page.facts import PageFacts, read_for_page
from auditor.page.model_card import model_card
from auditor.page.sections.head import signature_sentence
from auditor.report.schema import Report
from auditor.stagelog.digest import parse_digest
from service.cli.bundle_reader import read_bundle, user_trust
from service.cli.connect import ServerOption, connect
from service.cli.named_report import DigestArgument, NamedReport, bundle_of
from service.cli.output import JsonOption, console, emit, keep, notice
from service.cli.time_words import seconds_of
from service.cli.trusting import KeyOption, TrustOption, chosen_trust

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write here instead of printing.", dir_okay=False),
]


def html(
    report: NamedReport,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write the page here.", dir_okay=False)
    ],
    review: Annotated[
        list[Path] | None,
        typer.Option(
            help="A signed review of the report; repeatable.", exists=True, dir_okay=False
        ),
    ] = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report as one HTML page: no script, nothing loaded, readable on paper.

    The page says whether the signature verified now. It is not signed itself: hand out the bundle
    with it.
    """
    with needs_extra("report", purpose="A report's page"):
        from auditor.page.render import render_page
    keys = _trusted(trust, key)
    content, facts = _read(report, keys, server=server, reviews=review or ())
    page = render_page(content, facts).encode()
    keep(page, output)
    emit(
        {
            "report": facts.report_id,
            "path": str(output),
            "size_bytes": len(page),
            "signer": facts.signer,
        },
        as_json=as_json,
        human=lambda: console.print(signature_sentence(facts), markup=False),
    )


def card(
    report: NamedReport,
    output: OutputOption = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    server: ServerOption = None,
) -> None:
    """Print a report as a part of a model card, in Markdown."""
    content, facts = _read(report, _trusted(trust, key), server=server)
    _put(model_card(content, facts), output)
    notice(signature_sentence(facts, of="card"))


def bom(
    report: NamedReport,
    output: OutputOption = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    server: ServerOption = None,
) -> None:
    """Print a report as a machine-learning bill of materials, CycloneDX 1.6 in JSON."""
    content, facts = _read(report, _trusted(trust, key), server=server)
    _put(bill_of_materials(content, facts), output)
    notice(signature_sentence(facts, of="bill"))


def link(
    report: DigestArgument,
    validity: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long it holds: 30min, 1h, 1d.")
    ] = "1h",
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an address that opens a report's page in a browser, for a while.

    Whoever has the address can read the page until then; no token is asked for.
    """
    with connect(server) as client:
        found = client.link_report(
            parse_digest(report, where="REPORT"), seconds=seconds_of(validity, where="--for")
        )
    emit(found, as_json=as_json, human=lambda: _print_link(found))


def _print_link(found: Mapping[str, Any]) -> None:
    console.print(found["url"], markup=False, soft_wrap=True)
    notice(f"holds until {found['expire_time']}")


def _trusted(trust: Path | None, key: Path | None) -> TrustFile:
    """Return the keys that were named, else the user's, of which there may be none yet."""
    return user_trust() if trust is None and key is None else chosen_trust(trust, key)


def _read(
    report: str, keys: TrustFile, *, server: str | None, reviews: Sequence[Path] = ()
) -> tuple[Report, PageFacts]:
    return read_for_page(
        bundle_of(report, server=server),
        keys,
        now=SystemClock().now(),
        reviews=[read_bundle(path) for path in reviews],
    )


def _put(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        keep(text.encode(), output)
