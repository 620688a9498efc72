"""Examples that interventions raised and lowered most."""

from dataclasses import dataclass

from auditor.page.direction import better_words
from auditor.page.facts import PageFacts
from auditor.page.figures import decimals_for, signed
from auditor.report.labels import data_names, named
from auditor.report.schema import Extremes, Report

LISTED = 24
EXAMPLES_EACH = 10

Example = tuple[str, str]
"""An example's id and its effect, as text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtremeRow:
    """One intervention: the examples it raised and lowered most."""

    label: str
    raised: tuple[Example, ...]
    lowered: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryExtremes:
    """One query and its rows."""

    query: str
    about: str
    rows: tuple[ExtremeRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtremeRows:
    """The first of them, and how many the page leaves out."""

    queries: tuple[QueryExtremes, ...]
    left_out: int


def extremes_of(report: Report, _: PageFacts) -> ExtremeRows | None:
    """Return examples by id; None where none were asked for."""
    if not report.extremes:
        return None
    shown = report.extremes[:LISTED]
    names = data_names(report)
    about = {q.query: f"Effects in {q.unit}; {better_words(q.better)}." for q in report.queries}
    return ExtremeRows(
        queries=tuple(
            QueryExtremes(
                query=query,
                about=about.get(query, ""),
                rows=tuple(_row(found, names) for found in shown if found.query == query),
            )
            for query in dict.fromkeys(found.query for found in shown)
        ),
        left_out=len(report.extremes) - len(shown),
    )


def _row(found: Extremes, names: dict[str, str]) -> ExtremeRow:
    raised, lowered = found.raised[:EXAMPLES_EACH], found.lowered[:EXAMPLES_EACH]
    decimals = decimals_for(one.effect for one in (*raised, *lowered))
    return ExtremeRow(
        label=named(found.intervention, names),
        raised=tuple((str(one.id), signed(one.effect, decimals=decimals)) for one in raised),
        lowered=tuple((str(one.id), signed(one.effect, decimals=decimals)) for one in lowered),
    )
