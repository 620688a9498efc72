"""Effects of the stages: an interval plot for each query, in parts by kind of intervention."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.effects import Effect
from auditor.page.direction import Direction, better_words, direction_of
from auditor.page.facts import PageFacts
from auditor.page.figures import decimals_for, percent, size
from auditor.page.scale import scale_of
from auditor.page.strips import Axis, Strip, axis_of, drawn_figures, strip_of
from auditor.report.labels import data_names, named
from auditor.report.schema import QueryValue, Report

DRAWN_QUERIES = 12
DRAWN_ROWS = 24
"""Rows of one kind at most, and of all kinds and queries ten times as many: a page stays small."""

QUESTIONS = {
    "skip": "had the stage's updates not been executed",
    "fade": "had its updates been scaled",
    "replace": "had it used the reference data instead, at equal steps, schedule and optimizer",
    "drop": "had the selected examples not been used",
    "change": "had it been executed with other hyperparameters",
    "joint": "had several interventions been carried out at once",
}
"""What each kind of intervention asks, in the words of the effects' own statements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """The drawn rows of one kind of intervention."""

    kind: str
    question: str
    rows: tuple[Strip, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryPlot:
    """One query: its value at the audited model, and one plot on one scale for all kinds."""

    query: str
    unit: str
    value: str
    better: str
    n: str
    heading: str
    kinds: tuple[Kind, ...]
    axis: Axis


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectPlots:
    """The section; ``noise`` names what was measured of it."""

    queries: tuple[QueryPlot, ...]
    queries_left: int
    noise: tuple[str, ...]


def effect_plots(report: Report, _: PageFacts) -> EffectPlots | None:
    """Return the plots; None for a report without effects."""
    if not report.effects:
        return None
    shown = [q for q in report.queries if any(e.query == q.query for e in report.effects)]
    drawn = shown[:DRAWN_QUERIES]
    by_query = {q.query: [e for e in report.effects if e.query == q.query] for q in drawn}
    parts = sum(len({e.kind for e in rows}) for rows in by_query.values())
    limit = max(3, min(DRAWN_ROWS, 10 * DRAWN_ROWS // max(parts, 1)))
    names = data_names(report)
    return EffectPlots(
        queries=tuple(_plot(q, by_query[q.query], names=names, limit=limit) for q in drawn),
        queries_left=len(shown) - len(drawn),
        noise=tuple(
            field
            for field in ("sd_order", "sd_rerun")
            if any(getattr(effect, field) is not None for effect in report.effects)
        ),
    )


def _plot(
    query: QueryValue, effects: Sequence[Effect], *, names: dict[str, str], limit: int
) -> QueryPlot:
    # One scale for all kinds, so that a skip and a replace of one stage can be compared.
    kinds = [kind for kind in QUESTIONS if any(e.kind == kind for e in effects)]
    chosen = {kind: _chosen([e for e in effects if e.kind == kind], limit) for kind in kinds}
    drawn = [effect for rows in chosen.values() for effect in rows]
    scale = scale_of(figure for effect in drawn for figure in drawn_figures(effect))
    decimals = decimals_for(e.value for e in effects if e.value is not None)
    return QueryPlot(
        query=query.query,
        unit=query.unit,
        value=size(query.value, decimals=decimals_for([query.value])),
        better=better_words(query.better),
        n=f"{query.n:,}",
        heading=_interval_heading(drawn),
        kinds=tuple(
            Kind(
                kind=kind,
                question=QUESTIONS[kind],
                rows=tuple(
                    strip_of(effect, label=_label(effect, names), scale=scale, decimals=decimals)
                    for effect in chosen[kind]
                ),
                left_out=sum(e.kind == kind for e in effects) - len(chosen[kind]),
            )
            for kind in kinds
        ),
        axis=axis_of(scale, better=query.better),
    )


def _chosen(effects: Sequence[Effect], limit: int) -> list[Effect]:
    """Return the rows to draw, in the report's order: established ones first, then by size."""
    if len(effects) <= limit:
        return list(effects)
    ranked = sorted(
        range(len(effects)),
        key=lambda i: (direction_of(effects[i]) is Direction.OPEN, -abs(effects[i].value or 0.0)),
    )
    return [effects[i] for i in sorted(ranked[:limit])]


def _label(effect: Effect, names: dict[str, str]) -> str:
    return named(effect.intervention, names).removeprefix(f"{effect.kind} ")


def _interval_heading(effects: Sequence[Effect]) -> str:
    confidence = next((e.confidence for e in effects if e.confidence is not None), None)
    return "interval" if confidence is None else f"{percent(confidence)} interval"
