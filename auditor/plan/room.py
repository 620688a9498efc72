"""Groups that fit a device: what lanes need together, whatever logs they are of; pure.

What is fixed is there once for each log of a group: its data, its recorded states. So a lane of
another log may need a hundred times as much as one more of the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Protocol, TypeVar, final

FIRST_FACTOR = 1.3
"""Measured over predicted bytes, before anything was measured."""

DEFAULT_MAX_LANES = 64
"""Most lanes of a group where nobody says otherwise."""


class Candidate(Protocol):
    """What may be a lane of a group."""

    @property
    def log(self) -> str:
        """What names its log."""

    @property
    def fixed_bytes(self) -> int:
        """Bytes that lanes of this log share, by prediction."""

    @property
    def lane_bytes(self) -> int:
        """Bytes of its lane, by prediction."""

    @property
    def max_lanes(self) -> int | None:
        """The largest group it may be in, after a larger one failed."""


Lane = TypeVar("Lane", bound=Candidate)


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


def fill(
    candidates: Iterable[Lane], *, room: int, most_bytes: float = inf
) -> tuple[tuple[Lane, ...], int]:
    """Return the group of the first of these, and its room, which is less where memory ends it.

    One whose group failed before limits its groups. One of another log brings what is fixed for
    that log; where that does not fit, later ones of logs that are there already may.

    Args:
        candidates: Actions of one group key in their order, at least one.
        room: How many the group may have.
        most_bytes: What it may need by prediction; the first is in it whatever it needs.
    """
    group: list[Lane] = []
    together, left_out = Together(), False
    for action in candidates:
        if len(group) >= room:
            break
        limit = action.max_lanes or room
        if limit <= len(group):
            continue  # it needs a smaller group than this one is already
        more = together.plus(action.log, fixed=action.fixed_bytes, lane=action.lane_bytes)
        if not more.fits(most_bytes):
            left_out = True
            continue
        group.append(action)
        together, room = more, min(room, limit)
    return tuple(group), len(group) if left_out else room


def halved(lanes: int) -> int:
    """Return the largest group that those of a group may be in that did not fit."""
    return max(1, lanes // 2)
