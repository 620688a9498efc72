"""Ready work in a list, in the order that :mod:`service.records.ready_work` has in SQL."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import final

from auditor.stagelog.digest import Digest
from service.scheduler.ready import ReadyAction, order


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
