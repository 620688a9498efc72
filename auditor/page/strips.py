"""Rows of an interval plot: where point, interval and noise are, and the same in words."""

from dataclasses import dataclass

from auditor.effects import Effect
from auditor.page.direction import Direction, axis_ends, direction_of, verdict_words
from auditor.page.figures import ABSENT, ends, signed
from auditor.page.scale import Scale

Span = tuple[float, float]
"""Begin and width, in percent of a plot's width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One row: marks in percent of the width, and the text beside them.

    Attributes:
        label: What was done, where the heading does not say it.
        direction: What it did to the model; the class of the marks.
        point: Place of the value; None where it was not computed.
        interval: The interval; None where there is none, or the value is exact.
        order: One standard deviation over orders of the later batches, to both sides.
        rerun: The same over reruns of the pipeline.
        value: The value as text.
        between: The interval as text.
        verdict: What may be said.
        words: All of it, for those who do not see the marks.
    """

    label: str
    direction: Direction
    point: float | None
    interval: Span | None
    order: Span | None
    rerun: Span | None
    value: str
    between: str
    verdict: str
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Places and texts of the ticks, and what lies to both sides of zero."""

    ticks: tuple[tuple[float, str], ...]
    zero: float
    left: str
    right: str


def strip_of(effect: Effect, *, label: str, scale: Scale, decimals: int) -> Strip:
    """Return the row of an effect."""
    value, between = signed(effect.value, decimals=decimals), interval_text(effect, decimals)
    verdict = verdict_words(effect)
    noise = [
        f"{field} {signed(sd, decimals=decimals).lstrip('+')}"
        for field, sd in (("sd_order", effect.sd_order), ("sd_rerun", effect.sd_rerun))
        if sd is not None
    ]
    figures = f"{value} {effect.unit}" if effect.value is not None else "no figure"
    certainty = "" if between == ABSENT else f", interval {between}"
    return Strip(
        label=label,
        direction=direction_of(effect),
        point=None if effect.value is None else scale.percent(effect.value),
        interval=None if effect.exact_by_construction else span_on(scale, effect.low, effect.high),
        order=_around(effect.value, effect.sd_order, scale=scale),
        rerun=_around(effect.value, effect.sd_rerun, scale=scale),
        value=value,
        between=between,
        verdict=verdict,
        words=f"{figures}{certainty}; {', '.join([verdict, *noise])}",
    )


def interval_text(effect: Effect, decimals: int) -> str:
    """Return an effect's interval as text."""
    if effect.exact_by_construction and effect.low is not None:
        return "exact"
    return ends(effect.low, effect.high, decimals=decimals)


def drawn_figures(effect: Effect) -> list[float]:
    """Return every figure that a row marks, so that all are inside its scale."""
    found = [value for value in (effect.value, effect.low, effect.high) if value is not None]
    if effect.value is not None:
        for sd in (effect.sd_order, effect.sd_rerun):
            found += [] if sd is None else [effect.value - sd, effect.value + sd]
    return found


def axis_of(scale: Scale, *, better: str) -> Axis:
    """Return the axis that the rows of one scale stand on, for a query and what is good of it."""
    left, right = axis_ends(better)
    return Axis(
        ticks=tuple(
            (scale.percent(tick), signed(tick, decimals=scale.decimals) if tick else "0")
            for tick in scale.ticks
        ),
        zero=scale.percent(0.0),
        left=left,
        right=right,
    )


def span_on(scale: Scale, low: float | None, high: float | None) -> Span | None:
    """Return where an interval begins on a scale and how wide it is; None if it has no width."""
    if low is None or high is None or low == high:
        return None
    return scale.percent(low), scale.percent(high) - scale.percent(low)


def _around(value: float | None, sd: float | None, *, scale: Scale) -> Span | None:
    return None if value is None or sd is None else span_on(scale, value - sd, value + sd)
