"""How many lanes fit a device: what they need together, whatever logs they are of; pure.

What is fixed is there once for each log of a group: its data, its recorded states. So a lane of
another log may need a hundred times as much as one more of the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import final

FIRST_FACTOR = 1.3
"""Measured over predicted bytes, before anything was measured."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """Bytes that a group is predicted to need, without correction."""

    fixed: int
    lane: int

    def of(self, lanes: int) -> int:
        """Return the bytes of so many lanes."""
        return self.fixed + lanes * self.lane

    def lanes_in(self, room: float) -> int | None:
        """Return how many lanes fit so many bytes, at least 1; None: any number.

        One lane always starts: an action that is too large was refused when it was planned, and a
        prediction that is too large must not stop what would fit.
        """
        if not self.lane or room == inf:
            return None
        return max(1, int((room - self.fixed) // self.lane))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """Actions as lanes of one group.

    Attributes:
        fixed: Bytes that are there once for each log, by log.
        lane: Bytes of the largest lane.
        lanes: How many there are.
    """

    fixed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    lane: int = 0
    lanes: int = 0

    def plus(self, log: str, *, fixed: int, lane: int) -> "Together":
        """Return the group with one more lane.

        Args:
            log: What names its log.
            fixed: Bytes that lanes of this log share.
            lane: Bytes of this lane.
        """
        of_log = max(fixed, self.fixed.get(log, 0))
        return Together(
            fixed={**self.fixed, log: of_log}, lane=max(self.lane, lane), lanes=self.lanes + 1
        )

    @property
    def needed(self) -> Needed:
        """What it is predicted to need."""
        return Needed(fixed=sum(self.fixed.values()), lane=self.lane)

    def fits(self, room: float) -> bool:
        """Say whether it fits so many bytes; one lane always does."""
        return self.lanes <= 1 or self.needed.of(self.lanes) <= room
