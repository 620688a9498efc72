"""``stageaudit reproduce``: do a signed report's figures come out again, from the reader's data?

Offline, in this process. Exit codes: 0 all figures identical or within the tolerance, 20 different,
21 no longer reproducible; 3 signature, 4 another log, 7 refused input.
"""

from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.verify import verify_bundle
from auditor.report.agreement import DEFAULT_TOLERANCE
from service.cli.bundle_reader import read_bundle
from service.cli.output import ExitCode, JsonOption, console, emit, keep, notice
from service.cli.reproducing import Copies, How, reproduce_here
from service.cli.reproduction_table import print_reproduction
from service.cli.trusting import KeyOption, TrustOption, chosen_trust

CODES = {
    "identical": ExitCode.OK,
    "within tolerance": ExitCode.OK,
    "different": ExitCode.DIFFERENT,
    "no longer reproducible": ExitCode.NOT_REPRODUCIBLE,
}


def reproduce(
    report: Annotated[
        Path,
        typer.Argument(metavar="REPORT", help="The signed report.", exists=True, dir_okay=False),
    ],
    log: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Your copy of the audited log.", exists=True, file_okay=False
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Your copy of the evaluation data: an evaluation set, a folder of them, a "
            "service's data folder, or the file of a metric. May be given repeatedly.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The model file that was bound.", exists=True, dir_okay=False),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EFFECT|KEY",
            help="Only this: `INTERVENTION on QUERY`, an intervention, a query, or the beginning "
            "of an action's key. May be given repeatedly.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0, help="Of figures that are not identical, relative to their query's value."
        ),
    ] = DEFAULT_TOLERANCE,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda:0; default: the recorded one if it is here.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: as recorded.")
    ] = None,
    lanes: Annotated[
        int | None,
        typer.Option(min=1, help="So many actions together at most; default: as recorded."),
    ] = None,
    outside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@VERSION]=COMMAND", help="Run this for queries of kind outside."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result as JSON here.")
    ] = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute a signed report's figures again from your own copy of the log, and compare.

    `stageaudit reproduce report.json --log runs/42 --data heldout` verifies the report, computes
    all of its actions again, in the groups and with the threads that it names, and says of every
    figure whether it is identical bit for bit, within the tolerance, or different. Nothing is sent
    or fetched, and nothing is taken from earlier audits.
    """
    verified = verify_bundle(read_bundle(report), chosen_trust(trust, key), files={})
    notice(f"report {verified.report_id}, signature verified: {verified.key.name}")
    found = reproduce_here(
        verified,
        Copies(log=log, data=tuple(data or ()), model=model),
        How(
            only=tuple(only or ()),
            tolerance=tolerance,
            device=device,
            threads=threads,
            lanes=lanes,
            outside=tuple(outside or ()),
        ),
        quiet=as_json,
    )
    text = found.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
    keep(text.encode(), output)
    emit(
        found,
        as_json=as_json,
        human=lambda: print_reproduction(found, verified.report, console=console),
    )
    raise typer.Exit(CODES[found.outcome])
