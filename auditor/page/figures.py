"""Numbers as a page shows them: aligned, signed where they are differences, never invented."""

import math
from collections.abc import Iterable

ABSENT = "–"
"""What stands for a figure that was not computed; never a zero."""

SIGNIFICANT_DIGITS = 4
MOST_DECIMALS = 9
LARGEST_FIXED = 1e9
"""From this magnitude on, figures are written with an exponent."""


def decimals_for(values: Iterable[float]) -> int:
    """Return with how many decimals the largest of some figures has four significant digits."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0.0:
        return SIGNIFICANT_DIGITS - 1
    places = SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest))
    return min(max(places, 0), MOST_DECIMALS)


def signed(value: float | None, *, decimals: int) -> str:
    """Return a difference with its sign; one that rounds to nothing has none."""
    if value is None:
        return ABSENT
    text = _digits(value, decimals)
    if not any(digit in "123456789" for digit in text.partition("e")[0]):
        return text.lstrip("+-")
    return text.replace("-", "−")


def size(value: float | None, *, decimals: int) -> str:
    """Return a value or a spread; the sign only where it is negative."""
    return signed(value, decimals=decimals).removeprefix("+")


def ends(low: float | None, high: float | None, *, decimals: int) -> str:
    """Return an interval as text."""
    if low is None or high is None:
        return ABSENT
    return f"{signed(low, decimals=decimals)} to {signed(high, decimals=decimals)}"


def between_of(low: float | None, high: float | None, *, decimals: int) -> str:
    """Return an interval as text where one without width is told as exact."""
    return "exact" if low is not None and low == high else ends(low, high, decimals=decimals)


def plain(value: float | None) -> str:
    """Return a figure of its own scale with four significant digits."""
    return ABSENT if value is None else f"{value:.4g}".replace("-", "−")


def percent(part: float) -> str:
    """Return a part of one as a whole percentage, with a decimal where it needs one."""
    return f"{100 * part:.4g} %"


def _digits(value: float, decimals: int) -> str:
    # Where even the largest figure is too small for fixed decimals, none of them would have digits.
    tiny = decimals == MOST_DECIMALS and 0 < abs(value) < 10.0**-MOST_DECIMALS
    if abs(value) >= LARGEST_FIXED or tiny:
        return f"{value:+.3e}"
    return f"{value:+.{decimals}f}"
