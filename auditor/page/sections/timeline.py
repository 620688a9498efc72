"""Effects along the training: windows of steps beside the learning rate, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from auditor.page.direction import (
    Direction,
    better_words,
    change_direction,
    direction_of,
    verdict_words,
)
from auditor.page.facts import PageFacts
from auditor.page.figures import decimals_for, plain, signed
from auditor.page.strips import interval_text
from auditor.report.finer import Timeline, TimelineWindow
from auditor.report.labels import data_names, named
from auditor.report.schema import Report

DRAWN_TIMELINES = 6
TABLE_WINDOWS = 400
TOP, BOTTOM = 30.0, 150.0
"""Between these pixels windows are drawn; stage names stand above."""
RATE_TOP, RATE_BOTTOM = 178.0, 232.0
"""Between these pixels the learning rate is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A stage: where it lies, in percent of the width, and its sum."""

    name: str
    x: float
    width: float
    total: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A window: its effect as a bar from zero, its learning rate as a level, and both as text."""

    x: float
    width: float
    y: float
    height: float
    rate_y: float
    direction: Direction
    stage: str
    steps: str
    value: str
    rate: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An effect of examples of one source, or of another selection, in a stage."""

    label: str
    value: str
    between: str
    verdict: str
    direction: Direction


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One query's timeline, ready to draw."""

    query: str
    unit: str
    label: str
    better: str
    curvature: str
    steps: str
    zero_y: float
    largest: str
    smallest: str
    largest_rate: str
    bands: tuple[Band, ...]
    bars: tuple[Bar, ...]
    risers: tuple[tuple[float, float, float], ...]
    sources: tuple[Source, ...]
    listed: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timelines:
    """The drawn timelines, and how many the page leaves out."""

    figures: tuple[Figure, ...]
    left_out: int


def timelines_of(report: Report, _: PageFacts) -> Timelines | None:
    """Return the timelines; None where none was asked for."""
    if not report.timelines:
        return None
    drawn = report.timelines[:DRAWN_TIMELINES]
    return Timelines(
        figures=tuple(_figure(timeline, report) for timeline in drawn if timeline.windows),
        left_out=len(report.timelines) - len(drawn),
    )


def _figure(timeline: Timeline, report: Report) -> Figure:
    better = next((str(q.better) for q in report.queries if q.query == timeline.query), "lower")
    windows = timeline.windows
    values = [window.value for window in windows]
    high, low = max(0.0, *values), min(0.0, *values)
    decimals = decimals_for(values)
    bars = _bars(windows, better=better, decimals=decimals)
    sums = decimals_for(stage.value for stage in timeline.stages)
    totals = {stage.stage: signed(stage.value, decimals=sums) for stage in timeline.stages}
    return Figure(
        query=timeline.query,
        unit=timeline.unit,
        label=timeline.label,
        better=better_words(better),
        curvature=timeline.curvature,
        steps=f"{max(w.end_step for w in windows) - min(w.first_step for w in windows):,}",
        zero_y=_height(0.0, low=low, high=high),
        largest=signed(high, decimals=decimals) if high > 0 else "",
        smallest=signed(low, decimals=decimals) if low < 0 else "",
        largest_rate=plain(max(window.learning_rate for window in windows)),
        bands=_bands(windows, totals),
        bars=bars,
        # Only where one window follows on another: the rate is not known in between.
        risers=tuple(
            (after.x, before.rate_y, after.rate_y)
            for before, after in pairwise(bars)
            if abs(before.x + before.width - after.x) < 1e-9 and before.rate_y != after.rate_y
        ),
        sources=_sources(timeline.query, report),
        listed=bars[:TABLE_WINDOWS],
    )


def _bars(windows: Sequence[TimelineWindow], *, better: str, decimals: int) -> tuple[Bar, ...]:
    values = [window.value for window in windows]
    high, low = max(0.0, *values), min(0.0, *values)
    rate = max(window.learning_rate for window in windows) or 1.0
    begin, end = min(w.first_step for w in windows), max(w.end_step for w in windows)
    zero = _height(0.0, low=low, high=high)
    found = []
    for window in windows:
        tip = _height(window.value, low=low, high=high)
        found.append(
            Bar(
                x=_along(window.first_step, begin=begin, end=end),
                width=100.0 * (window.end_step - window.first_step) / (end - begin),
                y=min(zero, tip),
                height=abs(tip - zero),
                rate_y=RATE_BOTTOM - (RATE_BOTTOM - RATE_TOP) * (window.learning_rate / rate),
                direction=change_direction(window.value, better=better),
                stage=window.stage,
                steps=f"{window.first_step:,}–{window.end_step - 1:,}",
                value=signed(window.value, decimals=decimals),
                rate=plain(window.learning_rate),
            )
        )
    return tuple(found)


def _bands(windows: Sequence[TimelineWindow], totals: dict[str, str]) -> tuple[Band, ...]:
    begin, end = min(w.first_step for w in windows), max(w.end_step for w in windows)
    found = []
    for stage, group in groupby(windows, key=lambda window: window.stage):
        own = list(group)
        first = _along(own[0].first_step, begin=begin, end=end)
        last = _along(own[-1].end_step, begin=begin, end=end)
        found.append(Band(name=stage, x=first, width=last - first, total=totals.get(stage, "")))
    return tuple(found)


def _sources(query: str, report: Report) -> tuple[Source, ...]:
    rows = [e for e in report.effects if e.query == query and e.kind == "drop"]
    decimals = decimals_for(e.value for e in rows if e.value is not None)
    names = data_names(report)
    return tuple(
        Source(
            label=named(effect.intervention, names),
            value=signed(effect.value, decimals=decimals),
            between=interval_text(effect, decimals),
            verdict=verdict_words(effect),
            direction=direction_of(effect),
        )
        for effect in rows[:DRAWN_TIMELINES]
    )


def _along(step: int, *, begin: int, end: int) -> float:
    return 100.0 * (step - begin) / (end - begin)


def _height(value: float, *, low: float, high: float) -> float:
    """Return the pixel of a value; figures are halved first, so that no difference overflows."""
    span = high / 2 - low / 2
    part = 0.5 if span == 0.0 else (high / 2 - value / 2) / span
    return TOP + part * (BOTTOM - TOP)
