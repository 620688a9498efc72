"""The table of everything: every effect with every figure that was computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.effects import Effect
from auditor.page.direction import Direction, better_words, direction_of, verdict_words
from auditor.page.facts import PageFacts
from auditor.page.figures import ABSENT, decimals_for, percent, plain, signed, size
from auditor.page.strips import interval_text
from auditor.report.labels import data_names, named
from auditor.report.schema import QueryValue, Report

OPEN_ROWS = 60
"""Up to so many effects the tables are open, and so also on paper."""

LARGE_ROWS = 2_000
"""From so many effects on, a row has only what every reader needs; the JSON has the rest."""

_MORE = {
    "spread": "spread",
    "self_check": "self-check",
    "resolution": "resolution",
    "sampling_error": "sampling error",
    "population": "population interval",
    "p_value": "p",
    "sd_order": "sd_order",
    "sd_rerun": "sd_rerun",
}
"""Columns beside value, interval and verdict, and their headings."""

_LARGE = ("spread", "self_check", "sd_order", "sd_rerun")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One effect as text."""

    label: str
    direction: Direction
    cells: tuple[str, ...]
    verdict: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTable:
    """All effects on one query."""

    query: str
    unit: str
    value: str
    better: str
    n: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """The section; ``state`` is the attribute of its details."""

    tables: tuple[QueryTable, ...]
    effects: str
    state: str
    columns_left: str


def everything_of(report: Report, _: PageFacts) -> Tables | None:
    """Return every effect; None for a report without one."""
    if not report.effects:
        return None
    large = len(report.effects) > LARGE_ROWS
    columns = [name for name in (_LARGE if large else _MORE) if _present(name, report.effects)]
    rows: dict[str, list[Effect]] = {query.query: [] for query in report.queries}
    for effect in report.effects:
        rows.setdefault(effect.query, []).append(effect)
    names, queries = data_names(report), {query.query: query for query in report.queries}
    left = [_MORE[name] for name in _MORE if name not in columns and large]
    return Tables(
        tables=tuple(
            _table(name, own, columns=columns, names=names, large=large, at=queries.get(name))
            for name, own in rows.items()
            if own
        ),
        effects=f"{len(report.effects):,}",
        state="open" if len(report.effects) <= OPEN_ROWS else "",
        columns_left=", ".join([*left, "baselines"]) if large else "",
    )


def _table(
    query: str,
    effects: Sequence[Effect],
    *,
    columns: Sequence[str],
    names: Mapping[str, str],
    large: bool,
    at: QueryValue | None,
) -> QueryTable:
    decimals = decimals_for(e.value for e in effects if e.value is not None)
    baselines = [] if large else sorted({name for e in effects for name in e.baselines})
    confidence = next((e.confidence for e in effects if e.confidence is not None), None)
    return QueryTable(
        query=query,
        unit=effects[0].unit,
        value=ABSENT if at is None else size(at.value, decimals=decimals_for([at.value])),
        better=better_words(effects[0].better),
        n=f"{effects[0].n if at is None else at.n:,}",
        headings=(
            "effect",
            "interval" if confidence is None else f"{percent(confidence)} interval",
            *(_MORE[name] for name in columns),
            *(name.replace("_", " ") for name in baselines),
        ),
        rows=tuple(
            Row(
                label=named(effect.intervention, names),
                direction=direction_of(effect),
                cells=(
                    signed(effect.value, decimals=decimals),
                    interval_text(effect, decimals),
                    *(_cell(effect, name, decimals) for name in columns),
                    *(signed(effect.baselines.get(b), decimals=decimals) for b in baselines),
                ),
                verdict=verdict_words(effect),
            )
            for effect in effects
        ),
    )


def _present(name: str, effects: Sequence[Effect]) -> bool:
    field = "population_low" if name == "population" else name
    return any(getattr(effect, field) is not None for effect in effects)


def _cell(effect: Effect, name: str, decimals: int) -> str:
    match name:
        case "self_check":
            check = effect.self_check
            return signed(None if check is None else check.deviation, decimals=decimals)
        case "population":
            ends = (effect.population_low, effect.population_high)
            return " to ".join(signed(end, decimals=decimals) for end in ends)
        case "p_value":
            return plain(effect.p_value)
        case _:
            figure: float | None = getattr(effect, name)
            return size(figure, decimals=decimals)
