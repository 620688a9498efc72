"""Two reports beside one another, for people."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from auditor.compare.result import ComparedRow, ComparedValue, Comparison, Setting
from auditor.compare.words import change_words, interval_words, side_words, verdict_words
from auditor.report.labels import named
from service.cli.output import plain


def print_comparison(found: Comparison, *, console: Console) -> None:
    """Print what differs in the making, then values and effects, then what is not comparable."""
    if found.settings:
        console.print(_settings(found.settings))
    console.print(_values(found.values))
    for value in found.values:
        own = [row for row in found.rows if row.query == value.query]
        if own:
            console.print(_effects(value, own, names=found.names))
    changed = sum(row.verdict_changed for row in found.matched)
    console.print(
        f"effects in both: {len(found.matched)}, of these with another verdict: {changed}; "
        f"in B only: {sum(row.a is None for row in found.rows)}; "
        f"in A only: {sum(row.b is None for row in found.rows)}"
    )
    if not found.comparable:
        why = "some rows are not about the same thing" if found.matched else "no row is in both"
        console.print(f"[bold yellow]not everything can be compared[/]: {why}")


def _settings(settings: Sequence[Setting]) -> Table:
    table = Table("differs", "A", "B", box=SIMPLE_HEAD, pad_edge=False)
    for setting in settings:
        table.add_row(*(plain(text or "–") for text in (setting.what, setting.a, setting.b)))
    return table


def _values(values: Sequence[ComparedValue]) -> Table:
    table = Table("query", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("A", "B", "B − A"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for value in values:
        figures = ["–" if one is None else f"{one:.4g}" for one in (value.a, value.b)]
        change = "" if value.difference is None else f"{value.difference:+.4g}"
        notes = ", ".join((value.unit, *value.flags))
        table.add_row(plain(value.query), *figures, change, plain(notes))
    return table


def _effects(
    value: ComparedValue, rows: Sequence[ComparedRow], *, names: Mapping[str, str]
) -> Table:
    table = Table(
        title=f"effects on {plain(value.query)} in {plain(value.unit)}, {value.better} is better",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("intervention", overflow="fold")
    for heading in ("A", "B", "B − A"):
        table.add_column(heading, justify="right")
    for heading in ("intervals", "verdict", ""):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            plain(named(row.intervention, names)),
            side_words(row.a),
            side_words(row.b),
            change_words(row),
            interval_words(row),
            verdict_words(row),
            plain(named(", ".join(row.flags), names)),
        )
    return table
