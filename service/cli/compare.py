"""``stageaudit compare``: two signed reports beside one another.

Offline, from files. Exit codes: 0 everything is comparable, 22 something is not; 3 signature, 7
refused input.
"""

from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.checks import needs_extra
from auditor.compare.compare import compare as compared
from auditor.compare.markdown import comparison_markdown
from auditor.compare.result import Comparison
from auditor.edge.clock import SystemClock
from auditor.page.facts import minute_of
from auditor.policy.judge import Judged
from service.cli.bundle_reader import read_bundle
from service.cli.comparison_table import print_comparison
from service.cli.output import ExitCode, JsonOption, console, emit, keep
from service.cli.trusting import KeyOption, TrustOption, chosen_trust


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A signed report, such as the last one.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another signed report.")],
    summary: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull request here.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one HTML page here.", dir_okay=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result as JSON here.")
    ] = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two reports: two releases, or two estimators on one log.

    Both signatures are verified first. What differs in how the reports were made stands before the
    figures; rows that are not about the same thing are marked, and the exit code is then 22.
    """
    keys = chosen_trust(trust, key)
    found = compared(_verified(a, keys), _verified(b, keys))
    keep(comparison_markdown(found).encode(), summary)
    if html is not None:
        keep(_page(found), html)
    text = found.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
    keep(text.encode(), output)
    emit(found, as_json=as_json, human=lambda: print_comparison(found, console=console))
    raise typer.Exit(ExitCode.OK if found.comparable else ExitCode.NOT_COMPARABLE)


def _page(found: Comparison) -> bytes:
    with needs_extra("report", purpose="A comparison's page"):
        from auditor.compare.page import comparison_page
    return comparison_page(found, made=minute_of(SystemClock().now())).encode()


def _verified(path: Path, keys: TrustFile) -> Judged:
    found = verify_bundle(read_bundle(path), keys, files={})
    return Judged(report=found.report, id=found.report_id)
