"""From figures to places on a page, in percent of a plot's width."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

MARGIN_PERCENT = 2.0
TICKS = 5
SMALLEST = 1e-300
"""Figures below this magnitude are drawn as zero: differences of theirs have no digits left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Maps ``[low, high]`` linearly onto a plot's width without its margins.

    Attributes:
        low: Figure at the left margin, in units of ``unit``.
        high: Figure at the right margin, in units of ``unit``.
        unit: Magnitude that figures are divided by first, so that no difference overflows.
    """

    low: float
    high: float
    unit: float

    def percent(self, value: float) -> float:
        """Return where a figure is, in percent of the plot's width."""
        part = (value / self.unit - self.low) / (self.high - self.low)
        return MARGIN_PERCENT + part * (100.0 - 2 * MARGIN_PERCENT)

    @property
    def step(self) -> float:
        """The round distance of ticks, in units of ``unit``."""
        return _round_step((self.high - self.low) / TICKS)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round figures inside, among them zero; about :data:`TICKS` of them."""
        step = self.step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(index * step * self.unit for index in range(first, last + 1))

    @property
    def decimals(self) -> int:
        """How many decimals tell two ticks apart."""
        places = -math.floor(math.log10(self.step) + 1e-9) - round(math.log10(self.unit))
        return min(max(places, 0), 9)


def scale_of(values: Iterable[float]) -> Scale:
    """Return the scale of some figures and of zero, which every plot shows."""
    found = [0.0, *values]
    largest = max(abs(value) for value in found)
    if largest < SMALLEST:
        return Scale(low=-1.0, high=1.0, unit=1.0)
    unit = 10.0 ** math.floor(math.log10(largest))
    return Scale(low=min(found) / unit, high=max(found) / unit, unit=unit)


def _round_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least as large as a span."""
    power: float = 10.0 ** math.floor(math.log10(span))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= span * (1 - 1e-9))
