"""How long groups take, by group key or kind and lanes, from what such groups took lately.

A group of 64 lanes takes far less than 64 times as long as one of a single lane, so that a mean per
lane says little about groups of another size. Tenants are charged by it, and people told how long
things will take.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from math import exp, log, sqrt
from typing import final

from auditor.stagelog.digest import Digest

_FORGETS = 0.2
MAX_KEYS = 1024
"""Group keys that are remembered; the one learned longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Groups of about one size: their mean lanes and the mean of their seconds."""

    lanes: float
    seconds: float

    def scaled(self, lanes: float) -> float:
        # Between lanes that are free and lanes that cost as much as the first.
        return self.seconds * sqrt(lanes / self.lanes)


_Sizes = Mapping[int, _Seen]
"""What was seen, by the power of two that the lanes come to."""


@final
class GroupSeconds:
    """Means that forget, by group key and, for a key that was not seen yet, by kind.

    One thread learns, any may ask: what is known is replaced and never changed.
    """

    def __init__(self) -> None:
        self._kinds: Mapping[str, _Sizes] = {}
        self._keys: Mapping[str, _Sizes] = {}

    def learn(self, kind: str, group_key: Digest, *, lanes: int, seconds: float) -> None:
        """Take in how long a group took."""
        self._kinds = _learned(self._kinds, kind, lanes=lanes, seconds=seconds)
        keys = _learned(self._keys, group_key, lanes=lanes, seconds=seconds)
        self._keys = dict(islice(keys.items(), max(0, len(keys) - MAX_KEYS), None))

    def of(self, kind: str, group_key: Digest, *, lanes: int) -> float | None:
        """Return how long a group will take, or None for a kind that was not seen yet."""
        measured = self.measured(group_key, lanes=lanes)
        return _expected(self._kinds.get(kind, {}), lanes) if measured is None else measured

    def measured(self, group_key: Digest, *, lanes: int) -> float | None:
        """Return how long a group will take, or None for a key that was not seen yet."""
        return _expected(self._keys.get(group_key, {}), lanes)


def _learned(
    known: Mapping[str, _Sizes], name: str, *, lanes: int, seconds: float
) -> Mapping[str, _Sizes]:
    """Return what is known with one more group, which is the last one."""
    sizes = known.get(name, {})
    size = (lanes - 1).bit_length()
    before = sizes.get(size, _Seen(lanes, seconds))
    now = _Seen(
        before.lanes + _FORGETS * (lanes - before.lanes),
        before.seconds + _FORGETS * (seconds - before.seconds),
    )
    others = {other: own for other, own in known.items() if other != name}
    return {**others, name: {**sizes, size: now}}


def _expected(sizes: _Sizes, lanes: int) -> float | None:
    """Return the seconds of so many lanes by groups of other sizes.

    Between two sizes that were seen it is interpolated (both axes logarithmic), beyond them it
    grows with the square root of the lanes.
    """
    seen = sorted(sizes.values(), key=lambda size: size.lanes)
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
