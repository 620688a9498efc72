"""How much work may wait: in memory predicted for lanes, and in time predicted for groups."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from auditor.plan.footprint import shown_bytes
from auditor.stagelog.digest import Digest
from service.errors import QueueFullError, TenantQueueFullError
from service.records.jobs import QueuedWork
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.time_left import group_sizes

TENANT_SHARE = 0.6
"""The part of the queue that one tenant may fill."""

RETRY_SECONDS = 30.0
"""After which a caller may try again whose audit needs more memory than the queue has left."""

RETRY_SECONDS_MAX = 300.0
HOUR = 3600.0


class Measure(Protocol):
    """What there may be only so much of."""

    def amount(self, work: Iterable[QueuedWork]) -> float:
        """Return how much of it there is in so much work."""

    def shown(self, amount: float) -> str:
        """Return an amount for people, with its unit and what it is of."""

    def retry_seconds(self, over: float) -> float:
        """Return when to ask again for something that is so much over the limit."""


@final
class PredictedBytes:
    """Device memory of all lanes."""

    def amount(self, work: Iterable[QueuedWork]) -> float:
        """Return the bytes of the lanes, each alone."""
        return sum(own.lane_bytes for own in work)

    def shown(self, amount: float) -> str:
        """Return bytes for people."""
        return f"{shown_bytes(int(amount))} of predicted memory"

    def retry_seconds(self, over: float) -> float:
        """Return a while: nobody knows when so much will be gone."""
        return RETRY_SECONDS


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedSeconds:
    """How long the devices will take.

    What was not measured yet counts nothing: a guess must not refuse what would be done in time.

    Args:
        measured: How long groups take.
        workers: How many workers take groups now.
        max_lanes: Largest group.
    """

    measured: GroupSeconds
    workers: Callable[[], int]
    max_lanes: int

    def amount(self, work: Iterable[QueuedWork]) -> float:
        """Return the seconds of the groups that the work makes, spread over the workers."""
        lanes: Counter[Digest] = Counter()
        for own in work:
            lanes[own.group_key] += own.lanes
        seconds = sum(
            self.measured.measured(key, lanes=size) or 0.0
            for key, count in lanes.items()
            for size in group_sizes(count, max_lanes=self.max_lanes)
        )
        return seconds / max(1, self.workers())

    def shown(self, amount: float) -> str:
        """Return a time for people."""
        time = f"{amount / HOUR:.1f} h" if amount >= HOUR else f"{amount:.0f} s"
        return f"{time} of predicted computing"

    def retry_seconds(self, over: float) -> float:
        """Return when the devices have done what is too much, at most some minutes."""
        return min(RETRY_SECONDS_MAX, max(1.0, over))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimit:
    """At most so much of something may wait, of one tenant :data:`TENANT_SHARE` of it."""

    measure: Measure
    most: float

    def require(
        self, tenant: str, asked: Sequence[QueuedWork], *, queued: Sequence[QueuedWork]
    ) -> None:
        """Refuse work that there is no room for now. An empty queue takes anything.

        Raises:
            QueueFullError: If the queue would be too long.
            TenantQueueFullError: If the tenant's part of it would be.
        """
        own = [work for work in queued if work.tenant == tenant]
        waiting, after = self.measure.amount(own), self.measure.amount([*own, *asked])
        most = TENANT_SHARE * self.most
        if most < after and 0 < waiting < after:
            raise TenantQueueFullError(
                "queue",
                expected=f"at most {self.measure.shown(most)} of a tenant",
                found=self._found(waiting, after),
                remedy="Ask again when some of your audits have ended.",
                retry_after_seconds=self.measure.retry_seconds(after - most),
            )
        waiting, after = self.measure.amount(queued), self.measure.amount([*queued, *asked])
        if self.most < after and 0 < waiting < after:
            raise QueueFullError(
                "queue",
                expected=f"at most {self.measure.shown(self.most)}",
                found=self._found(waiting, after),
                remedy="Ask again later.",
                retry_after_seconds=self.measure.retry_seconds(after - self.most),
            )

    def _found(self, waiting: float, after: float) -> str:
        return f"{self.measure.shown(waiting)} waiting, {self.measure.shown(after)} with this audit"
