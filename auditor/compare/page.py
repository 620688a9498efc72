"""A comparison as one HTML file, on the templates of a report's page."""

from dataclasses import dataclass

from markupsafe import Markup

from auditor.compare.result import ComparedReport, ComparedRow, ComparedValue, Comparison, Side
from auditor.compare.words import interval_words, side_words, verdict_words
from auditor.page.direction import Direction, better_words, change_direction
from auditor.page.figures import ABSENT, between_of, decimals_for, plain, signed
from auditor.page.render import content_policy, page_style, page_templates
from auditor.page.scale import Scale, scale_of
from auditor.page.strips import Axis, Span, axis_of, span_on
from auditor.report.labels import named

DRAWN = 200
"""Rows of a query that are shown; the JSON result has all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One report's value and interval: in percent of the plot's width, and as text."""

    point: float | None
    interval: Span | None
    value: str
    between: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRow:
    """One effect in both reports, or in one."""

    label: str
    direction: Direction
    a: Mark
    b: Mark
    change: str
    between: str
    verdict: str
    notes: str
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PageQuery:
    """A query at both models, and the effects on it."""

    name: str
    about: str
    rows: tuple[PageRow, ...]
    axis: Axis
    left_out: int


def comparison_page(found: Comparison, *, made: str | None = None) -> str:
    """Return the page of a comparison; whatever its strings hold is shown as text.

    Args:
        found: The comparison.
        made: When the page is made, for people.
    """
    style = page_style()
    return (
        page_templates()
        .get_template("comparison.html")
        .render(
            found=found,
            made=made,
            sides=tuple(
                zip("AB", map(_title, (found.a, found.b)), (found.a, found.b), strict=True)
            ),
            verdict=_sentence(found),
            queries=tuple(_query(value, found) for value in found.values),
            style=Markup(style),  # noqa: S704 - a file of the package
            policy=content_policy(style),
        )
    )


def _title(report: ComparedReport) -> str:
    return f"{report.log_name}, by {report.estimator}"


def _sentence(found: Comparison) -> str:
    """Return what differs, counted."""
    apart = sum(row.overlap is False for row in found.matched)
    changed = sum(row.verdict_changed for row in found.matched)
    alone = len(found.rows) - len(found.matched)
    both = len(found.matched)
    text = f"{both:,} effects are in both reports: the intervals of {apart:,} are apart, "
    text += f"{changed:,} have another verdict."
    text += f" {alone:,} are in one report only." if alone else ""
    if found.comparable:
        return text
    return f"{text} Not everything can be compared: the notes say what is not about the same thing."


def _query(value: ComparedValue, found: Comparison) -> PageQuery:
    rows = [row for row in found.rows if row.query == value.query]
    shown = rows[:DRAWN]
    figures = [figure for row in shown for side in (row.a, row.b) for figure in _figures(side)]
    scale, decimals = scale_of(figures), decimals_for(figures)
    about = (
        f"{plain(value.a)} {value.unit} at A's model, {plain(value.b)} at B's; "
        f"{better_words(value.better)}"
    )
    return PageQuery(
        name=value.query,
        about="; ".join((about, *value.flags)),
        rows=tuple(_row(row, found, scale=scale, decimals=decimals) for row in shown),
        axis=axis_of(scale, better=value.better),
        left_out=len(rows) - len(shown),
    )


def _row(row: ComparedRow, found: Comparison, *, scale: Scale, decimals: int) -> PageRow:
    notes = [interval_words(row), *(named(flag, found.names) for flag in row.flags)]
    return PageRow(
        label=named(row.intervention, found.names),
        direction=_direction(row),
        a=_mark(row.a, scale=scale, decimals=decimals),
        b=_mark(row.b, scale=scale, decimals=decimals),
        change=signed(row.difference, decimals=decimals),
        between=between_of(row.low, row.high, decimals=decimals),
        verdict=verdict_words(row),
        notes=", ".join(note for note in notes if note),
        words=f"A {side_words(row.a)}; B {side_words(row.b)}",
    )


def _direction(row: ComparedRow) -> Direction:
    """Return what the change means where its whole interval is on one side of zero."""
    if row.difference is None or row.low is None or row.high is None or row.low * row.high <= 0:
        return Direction.OPEN
    return change_direction(row.difference, better=row.better)


def _figures(side: Side | None) -> list[float]:
    if side is None:
        return []
    return [figure for figure in (side.value, side.low, side.high) if figure is not None]


def _mark(side: Side | None, *, scale: Scale, decimals: int) -> Mark:
    if side is None:
        return Mark(point=None, interval=None, value=ABSENT, between="not in this report")
    if side.value is None:
        return Mark(point=None, interval=None, value=ABSENT, between="not computed")
    return Mark(
        point=scale.percent(side.value),
        interval=span_on(scale, side.low, side.high),
        value=signed(side.value, decimals=decimals),
        between=between_of(side.low, side.high, decimals=decimals),
    )
