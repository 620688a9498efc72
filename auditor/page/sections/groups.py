"""Gaps between groups: every query that compares groups, and what raised or lowered it most."""

from dataclasses import dataclass

from auditor.effects import BY_GROUP, Effect
from auditor.page.direction import Direction, better_words, direction_of, verdict_words
from auditor.page.facts import PageFacts
from auditor.page.figures import decimals_for, signed, size
from auditor.page.strips import interval_text
from auditor.report.labels import data_names, named
from auditor.report.schema import QueryValue, Report

EFFECTS_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class GapEffect:
    """What one intervention did to a gap."""

    label: str
    value: str
    between: str
    verdict: str
    direction: Direction


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """One query that compares groups, at the audited model, and its largest effects."""

    query: str
    measure: str
    groups: str
    value: str
    unit: str
    better: str
    n: str
    effects: tuple[GapEffect, ...]


def gaps_of(report: Report, _: PageFacts) -> tuple[Gap, ...] | None:
    """Return the gaps; None where no query compares groups."""
    gaps = tuple(_gap(query, report) for query in report.queries if query.kind in BY_GROUP)
    return gaps or None


def _gap(query: QueryValue, report: Report) -> Gap:
    rows = [e for e in report.effects if e.query == query.query and e.value is not None]
    rows.sort(key=lambda e: (direction_of(e) is Direction.OPEN, -abs(e.known_value)))
    decimals = decimals_for([query.value, *(e.known_value for e in rows)])
    of = "" if query.group is None else f" by {query.group}"
    return Gap(
        query=query.query,
        measure=f"{str(query.kind).replace('_', ' ')}{of}",
        groups=", ".join(f"{group.name} {group.n:,}" for group in query.groups),
        value=size(query.value, decimals=decimals),
        unit=query.unit,
        better=better_words(query.better),
        n=f"{query.n:,}",
        effects=tuple(
            _effect(effect, report, decimals=decimals) for effect in rows[:EFFECTS_SHOWN]
        ),
    )


def _effect(effect: Effect, report: Report, *, decimals: int) -> GapEffect:
    return GapEffect(
        label=named(effect.intervention, data_names(report)),
        value=signed(effect.value, decimals=decimals),
        between=interval_text(effect, decimals),
        verdict=verdict_words(effect),
        direction=direction_of(effect),
    )
