"""Ready actions -> the next group; pure."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol

from auditor.plan.room import fill
from auditor.stagelog.digest import Digest
from service.scheduler.batch_delay import NOT_YET, Launch, When
from service.scheduler.ready import ReadyAction

PASSED_OVER_LIMIT = 16
"""Groups that may wait for lanes before a claim gives up looking for one that need not."""


class ReadyWork(Protocol):
    """What could start now, in the order that :mod:`service.scheduler.ready` names."""

    def head(self, *, passed_over: Collection[Digest]) -> ReadyAction | None:
        """Return the first action whose group key is not among these; None if there is none."""

    def companions(self, head: ReadyAction, *, limit: int) -> Sequence[ReadyAction]:
        """Return the first ``limit`` actions of the head's group key, itself included."""

    def outranked(self, head: ReadyAction) -> bool:
        """Say whether something that waits for results will go before the head.

        It does if its tenant's start tag is smaller, or equal and its priority above the head's.
        """

    def to_come(self, group_key: Digest) -> int:
        """Return how many actions of this key still wait for results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The group to start now, none if there is none, and when one that waits may start.

    ``due`` is in seconds since 1970, infinite when only an event can change something.
    """

    group: tuple[ReadyAction, ...] = ()
    due: float = NOT_YET


def any_size(head: ReadyAction) -> float:
    """Return the bytes that a group may need where nobody knows the device: any number."""
    del head
    return inf


def choose(
    work: ReadyWork,
    *,
    lanes_of: Callable[[ReadyAction], int],
    bytes_of: Callable[[ReadyAction], float] = any_size,
    launch: Launch,
    now: float,
) -> Choice:
    """Return the first group that may start; one that waits for lanes lets later ones pass.

    Args:
        work: What is ready.
        lanes_of: The largest group that an action may be in, at least 1; asked of the head.
        bytes_of: What that group may need by prediction; asked of the head.
        launch: Which groups may start.
        now: Seconds since 1970.
    """
    due = NOT_YET
    passed_over: set[Digest] = set()
    while len(passed_over) < PASSED_OVER_LIMIT:
        head = work.head(passed_over=passed_over)
        if head is None:
            break
        if launch.when is When.AHEAD and work.outranked(head):
            break  # a device that is busy leaves its next turn to what it is about to free
        room = room_of(head, lanes_of=lanes_of)
        # Twice the room: some need smaller groups than this one.
        companions = work.companions(head, limit=2 * room) if room > 1 else (head,)
        group, room = fill(companions, room=room, most_bytes=bytes_of(head))
        starts = launch.starts_at(group, room=room, to_come=partial(work.to_come, head.group_key))
        if starts <= now:
            return Choice(group=group)
        due = min(due, starts)
        passed_over.add(head.group_key)
    return Choice(due=due)


def room_of(head: ReadyAction, *, lanes_of: Callable[[ReadyAction], int]) -> int:
    """Return how many lanes a head's group may have."""
    room = lanes_of(head)
    return min(room, head.max_lanes or room)
