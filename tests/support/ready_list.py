"""Ready work in a list, in the order that :mod:`service.records.ready_work` has in SQL.

What :mod:`service.scheduler.ready` says in words is written here for one action.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import final

from auditor.stagelog.digest import Digest
from service.scheduler.batch_delay import Launch, When
from service.scheduler.batching import choose
from service.scheduler.ready import DEADLINE_SECONDS, ReadyAction, level_of


@final
class ReadyList:
    """A :class:`service.scheduler.batching.ReadyWork` of actions that a test made."""

    def __init__(
        self,
        ready: Iterable[ReadyAction],
        *,
        now: float,
        start_of: Callable[[str], float] = lambda _: 0.0,
        blocked: Mapping[Digest, int] | None = None,
    ) -> None:
        self.ready = sorted(ready, key=lambda a: order(a, now=now, start=start_of(a.tenant)))
        self.blocked = dict(blocked or {})

    def head(self, *, passed_over: Collection[Digest]) -> ReadyAction | None:
        return next((a for a in self.ready if a.group_key not in passed_over), None)

    def companions(self, head: ReadyAction, *, limit: int) -> Sequence[ReadyAction]:
        return [a for a in self.ready if a.group_key == head.group_key][:limit]

    def outranked(self, head: ReadyAction) -> bool:
        return False

    def to_come(self, group_key: Digest) -> int:
        return self.blocked.get(group_key, 0)


def order(action: ReadyAction, *, now: float, start: float) -> tuple[float, float, float, int, int]:
    """Return the sort key of an action: start tag, aged priority, minute of deadline, height, age.

    Args:
        action: What waits.
        now: Seconds since 1970.
        start: Start tag of its tenant.
    """
    return (
        start,
        -level_of(action, now=now),
        action.deadline // DEADLINE_SECONDS,
        -action.height,
        action.id,
    )


def next_group(
    ready: Iterable[ReadyAction],
    *,
    lanes_of: Callable[[ReadyAction], int],
    now: float,
    start_of: Callable[[str], float],
) -> tuple[ReadyAction, ...]:
    """Return what an idle device runs next, none if nothing is ready."""
    work = ReadyList(ready, now=now, start_of=start_of)
    launch = Launch(when=When.NOW, max_delay_seconds=0.0)
    return choose(work, lanes_of=lanes_of, launch=launch, now=now).group
