"""What is made once and used by many runs: imported graphs and traced steps, by what they compute.

Importing a graph and tracing a step cost as much as a hundred steps. Runs of one architecture that
share a store pay it once, whichever log comes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar, final

DEFAULT_CAPACITY = 512
"""How many values are kept: a trace is some hundred kilobytes."""

Value = TypeVar("Value")


class Keeper(Protocol):
    """Whatever keeps values by key: a run its own, a :class:`Prepared` those of all runs."""

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made at most once while it is kept."""

    def keeps(self, key: Hashable) -> bool:
        """Say whether the value of a key was made."""


@final
class Prepared:
    """Values by key; the one used longest ago is dropped first.

    A key must name everything that its value depends on, the device included, and no run.

    Args:
        capacity: How many values are kept.
    """

    def __init__(self, *, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return ``make()``, computed once per key while it is kept."""
        if key not in self._kept:
            made = make()
            while len(self._kept) >= self._capacity:
                self._kept.popitem(last=False)
            self._kept[key] = made
        self._kept.move_to_end(key)
        value: Value = self._kept[key]
        return value

    def keeps(self, key: Hashable) -> bool:
        """Say whether the value of a key is kept."""
        return key in self._kept
