"""How long groups take, by kind and lanes, from what such groups took lately.

A group of 64 lanes takes far less than 64 times as long as one of a single lane, so that a mean per
lane says little about groups of another size. Tenants are charged by it, and people told how long
things will take.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import final

_FORGETS = 0.2


@dataclass(frozen=True, slots=True)
class _Seen:
    """Groups of about one size: their mean lanes and the mean of their seconds."""

    lanes: float
    seconds: float

    def scaled(self, lanes: float) -> float:
        # Between lanes that are free and lanes that cost as much as the first.
        return self.seconds * sqrt(lanes / self.lanes)


@final
class GroupSeconds:
    """Means that forget, by kind and by the power of two that the lanes come to.

    One thread learns, any may ask: what is known is replaced and never changed.
    """

    def __init__(self) -> None:
        self._seen: Mapping[str, Mapping[int, _Seen]] = {}

    def learn(self, kind: str, *, lanes: int, seconds: float) -> None:
        """Take in how long a group took."""
        sizes = self._seen.get(kind, {})
        size = (lanes - 1).bit_length()
        known = sizes.get(size, _Seen(lanes, seconds))
        now = _Seen(
            known.lanes + _FORGETS * (lanes - known.lanes),
            known.seconds + _FORGETS * (seconds - known.seconds),
        )
        self._seen = {**self._seen, kind: {**sizes, size: now}}

    def of(self, kind: str, *, lanes: int) -> float | None:
        """Return how long a group will take, or None for a kind that was not seen yet.

        Between two sizes that were seen it is interpolated (both axes logarithmic), beyond them it
        grows with the square root of the lanes.
        """
        seen = sorted(self._seen.get(kind, {}).values(), key=lambda size: size.lanes)
        if not seen:
            return None
        below = [size for size in seen if size.lanes <= lanes]
        above = [size for size in seen if size.lanes > lanes]
        if below and above:
            return _between(below[-1], above[0], lanes)
        return (below[-1] if below else above[0]).scaled(lanes)


def _between(below: _Seen, above: _Seen, lanes: float) -> float:
    if not (below.seconds > 0 and above.seconds > 0):
        return max(below.seconds, above.seconds)
    part = log(lanes / below.lanes) / log(above.lanes / below.lanes)
    return exp((1 - part) * log(below.seconds) + part * log(above.seconds))
