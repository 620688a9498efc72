"""Whether a group starts now or waits for more lanes; pure.

A group waits only while that costs nothing or can bring lanes: the device is busy, or an audit
arrives this moment whose actions may join. No group waits longer than the maximum batch delay for
lanes that nobody promised, and one that is nearly full waits for nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.scheduler.ready import ReadyAction

ENOUGH = 0.8
"""A group with this part of the lanes that it may have is not worth waiting with."""

CPU_DELAY_SECONDS = 0.05
GPU_DELAY_SECONDS = 0.2
"""How long groups wait for lanes unless it is configured: a GPU gains more from each."""

AT_ONCE = -math.inf
NOT_YET = math.inf


class When(StrEnum):
    """For when a group is claimed.

    ``NOW``: the device is idle. ``SOON``: it is idle, and an audit is being planned whose actions
    may join. ``AHEAD``: it is busy.
    """

    NOW = "now"
    SOON = "soon"
    AHEAD = "ahead"


def usual_delay_seconds(device: str) -> float:
    """Return how long a group of this device, such as ``cpu`` or ``cuda:0``, waits for lanes."""
    return CPU_DELAY_SECONDS if device.partition(":")[0] == "cpu" else GPU_DELAY_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """The rule by which groups of one claim start.

    Args:
        when: What the device and the planner are doing.
        max_delay_seconds: How long a group may wait for lanes.
    """

    when: When
    max_delay_seconds: float

    def starts_at(
        self, group: Sequence[ReadyAction], *, room: int, to_come: Callable[[], int]
    ) -> float:
        """Return from when on a group may start, in seconds since 1970.

        Args:
            group: Its actions, at least one.
            room: How many it may have.
            to_come: Counts actions of its key that still wait for results; asked where it matters.

        Returns:
            ``AT_ONCE``; the end of the delay, counted from the member that waits longest; or
            ``NOT_YET`` while the device is busy anyway and more actions are going to join.
        """
        if len(group) >= ENOUGH * room or self.when is When.NOW:
            return AT_ONCE
        if self.when is When.AHEAD and to_come():
            return NOT_YET
        return min(action.ready_since for action in group) + self.max_delay_seconds
