"""How many lanes pay off, from measured throughput: a small ladder of sizes, one a group key."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from auditor.stagelog.digest import Digest
from service.scheduler.batch_delay import ENOUGH

GROUP_SECONDS = 0.01
"""What a group costs besides its computation; it keeps tiny actions in large groups."""

WORTH = 0.95
"""A size pays off while its throughput is above this part of the best that was measured."""

PROBE_EVERY = 50
"""Groups between two looks at the neighbouring sizes: hardly any time, and changes are noticed."""

_FORGETS = 0.3
_KEYS = 1024


@dataclass(kw_only=True, slots=True)
class _Measured:
    """What is known of one group key."""

    lanes: int  #: the size that pays off best
    rates: dict[int, float] = field(default_factory=dict)  #: lanes a second, by size
    begun: set[int] = field(default_factory=set)  #: sizes that ran once, which includes tracing
    groups: int = 0  #: since the last probe
    probe: int | None = None  #: size that is tried now
    last_probe: int | None = None


@final
class LaneRates:
    """The smallest size of groups whose throughput no larger one beats by much.

    More lanes raise throughput until the device is full; beyond that they only make everybody wait
    for a longer group, and may be slower, for instance where they no longer fit a cache. Sizes are
    ``max_lanes`` and its halves, and a key begins at ``max_lanes``. Once a size is measured the
    next smaller one is tried, and every ``PROBE_EVERY`` groups one of the neighbours again. Of a
    new size the first group does not count, because it is traced then. So what does not pay off
    costs at most two groups.

    Args:
        max_lanes: Largest group.
    """

    def __init__(self, *, max_lanes: int) -> None:
        sizes = [max_lanes]
        while sizes[-1] > 1:
            sizes.append(sizes[-1] // 2)
        self._sizes = tuple(reversed(sizes))
        self._known: OrderedDict[Digest, _Measured] = OrderedDict()

    def lanes_of(self, group_key: Digest) -> int:
        """Return how many lanes the next group of this key should have at most."""
        known = self._known.get(group_key)
        if known is None:
            return self._sizes[-1]
        return known.probe or known.lanes

    def learn(self, group_key: Digest, *, lanes: int, seconds: float) -> None:
        """Take in how long a group took; one between two sizes says nothing about either."""
        size = self._size_of(lanes)
        if size is None:
            return
        known = self._known.setdefault(group_key, _Measured(lanes=self._sizes[-1]))
        self._known.move_to_end(group_key)
        if len(self._known) > _KEYS:
            self._known.popitem(last=False)
        if size not in known.begun:
            known.begun.add(size)
            return
        rate = lanes / (seconds + GROUP_SECONDS)
        # A probe finds out anew: what was known of the size is old.
        before = rate if known.probe == size else known.rates.get(size, rate)
        known.rates[size] = before + _FORGETS * (rate - before)
        if self._sizes[-1] in known.rates:  # what was not tried is taken to be the best
            known.lanes = _smallest_worth(known.rates)
        known.groups += 1
        if known.probe == size:
            known.probe = None
        if known.probe is None:
            known.probe = self._next_probe(known)

    def _size_of(self, lanes: int) -> int | None:
        """Return the size of which this is nearly a full group."""
        size = next((size for size in self._sizes if size >= lanes), self._sizes[-1])
        return size if lanes >= ENOUGH * size else None

    def _next_probe(self, known: _Measured) -> int | None:
        """Return the size to try next, none if it is not time."""
        place = self._sizes.index(known.lanes)
        smaller = self._sizes[place - 1] if place > 0 else None
        larger = self._sizes[place + 1] if place + 1 < len(self._sizes) else None
        if self._sizes[-1] not in known.rates:
            return None
        if smaller is not None and smaller not in known.rates:
            known.groups = 0
            return smaller
        if known.groups < PROBE_EVERY:
            return None
        known.groups = 0
        neighbours = [size for size in (smaller, larger) if size is not None]
        # The one that was left out last time: neighbours take turns.
        neighbours.sort(key=lambda size: size == known.last_probe)
        known.last_probe = neighbours[0] if neighbours else None
        return known.last_probe


def _smallest_worth(rates: Mapping[int, float]) -> int:
    """Return the smallest size that is nearly as fast as the best."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= WORTH * best)
