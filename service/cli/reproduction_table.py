"""Whether a report's figures came out again, for people."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from auditor.report.agreement import place_of, row_of
from auditor.report.labels import data_names, named
from auditor.report.reproduction import (
    ORDER,
    Agreement,
    ComparedFigure,
    Reproduction,
    worst,
)
from auditor.report.schema import Report
from service.cli.output import plain

STYLES: Final = {
    Agreement.IDENTICAL: "green",
    Agreement.WITHIN: "yellow",
    Agreement.DIFFERENT: "bold red",
}
SHOWN: Final = 20
"""How many different figures are listed; --json has all."""


def print_reproduction(found: Reproduction, report: Report, *, console: Console) -> None:
    """Print a line for every effect that was computed again, then what differs and why it may."""
    if found.missing:
        console.print("[bold yellow]no longer reproducible[/]: the report verifies, but it lacks")
        for gone in found.missing:
            console.print(f"  {gone.what}: {gone.why}", markup=False)
        return
    console.print(_effects(found, report))
    different = [f for f in found.figures if f.agreement is Agreement.DIFFERENT]
    if different:
        console.print(_different(different))
    for what, agreements in (
        ("figures", [figure.agreement for figure in found.figures]),
        ("actions", [key.agreement for key in found.keys]),
    ):
        counts = Counter(agreements)
        told = ", ".join(f"{counts[one]} {one}" for one in ORDER if counts[one] or one in ORDER[:1])
        console.print(f"{len(agreements)} {what}: {told}")
    _print_places(found, console)
    outcome = Agreement(found.outcome)
    tolerance = "" if outcome is Agreement.IDENTICAL else f" {found.tolerance:g}"
    console.print(f"\n[{STYLES[outcome]}]{outcome}[/]{tolerance}")


def _effects(found: Reproduction, report: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("query")
    table.add_column("intervention", overflow="fold")
    for heading in ("signed", "again"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    names = data_names(report)
    by_row: dict[str, list[ComparedFigure]] = {}
    for figure in found.figures:
        by_row.setdefault(row_of(figure), []).append(figure)
    for effect in report.effects:
        place = place_of(effect)
        own = by_row.get(place, [])
        if not own:
            continue
        agreement = worst(figure.agreement for figure in own)
        value = next((figure for figure in own if figure.where == f"{place}.value"), None)
        table.add_row(
            plain(effect.query),
            plain(named(effect.intervention, names)),
            *(_shown(one) for one in _sides(value)),
            f"[{STYLES[agreement]}]{agreement}[/]",
        )
    return table


def _different(figures: Sequence[ComparedFigure]) -> Table:
    table = Table("different", "signed", "again", box=SIMPLE_HEAD, pad_edge=False)
    for figure in figures[:SHOWN]:
        table.add_row(plain(figure.where), *(_shown(one) for one in _sides(figure)))
    if len(figures) > SHOWN:
        table.add_row(f"and {len(figures) - SHOWN} more: --json", "", "")
    return table


def _print_places(found: Reproduction, console: Console) -> None:
    """Say what was computed elsewhere, and what came to other bits in the same place."""
    for change in found.changed:
        console.print(
            f"{change.fact}: recorded {change.recorded}, here {change.here}", markup=False
        )
    elsewhere = [key for key in found.keys if not key.as_recorded]
    if elsewhere:
        console.print(
            f"{len(elsewhere)} actions did not run as recorded (beside lanes of other audits, "
            "elsewhere, or from inputs that did not): there the last digits may differ"
        )
    odd = [
        key
        for key in found.keys
        if key.as_recorded and key.signed is not None and key.signed != key.again
    ]
    if odd:
        console.print(
            f"{len(odd)} actions ran as recorded and came to other bits: another machine of the "
            "same description, or not what was signed"
        )
    for part in found.not_compared:
        console.print(f"not compared: {part}; pass it with --{part}", markup=False)


def _sides(figure: ComparedFigure | None) -> tuple[object, object]:
    return (None, None) if figure is None else (figure.signed, figure.again)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"{len(value)} keys"
    return f"{value:+.6g}" if isinstance(value, float) else plain(str(value))
