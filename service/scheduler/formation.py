"""How large groups may be and how long they wait for lanes, by what is configured and measured."""

from dataclasses import dataclass, field
from typing import final

from auditor.stagelog.digest import Digest
from service.scheduler.arrivals import Arrivals
from service.scheduler.batch_delay import Launch, When, usual_delay_seconds
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.lane_rates import LaneRates
from service.scheduler.memory import MemoryModel
from service.scheduler.ready import ReadyAction


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerSettings:
    """How groups are formed and leased: at most so many lanes, and no more than fit."""

    max_lanes: int
    lease_seconds: float
    max_batch_delay_seconds: float | None = None  #: None: what is usual for the device
    memory: MemoryModel = field(default_factory=MemoryModel)
    seconds: GroupSeconds = field(default_factory=GroupSeconds)


@final
class Formation:
    """What decides about the next group besides the order of what is ready.

    Args:
        settings: What is configured.
        arrivals: Whether audits are being planned.
    """

    def __init__(self, settings: SchedulerSettings, *, arrivals: Arrivals) -> None:
        self._settings = settings
        self._arrivals = arrivals
        self._rates = LaneRates(max_lanes=settings.max_lanes)

    @property
    def lease_seconds(self) -> float:
        """How long a worker holds an action without a heartbeat."""
        return self._settings.lease_seconds

    @property
    def memory(self) -> MemoryModel:
        """What groups hold, and what there is on each worker."""
        return self._settings.memory

    def seconds_of(self, kind: str, group_key: Digest, *, lanes: int) -> float | None:
        """Return how long a group should take, or None for a kind that was not seen yet."""
        return self._settings.seconds.of(kind, group_key, lanes=lanes)

    def for_busy(self, device: str) -> Launch:
        """Return the rule by which the next group of a device starts that computes another."""
        return self._launch(When.AHEAD, device)

    def for_idle(self, device: str) -> Launch:
        """Return the rule by which the next group of a device starts that has nothing to do."""
        return self._launch(When.SOON if self._arrivals.expected else When.NOW, device)

    def lanes_of(self, head: ReadyAction) -> int:
        """Return the largest group that an action may be in, if it fits."""
        return min(self._settings.max_lanes, self._rates.lanes_of(head.group_key))

    def learn(self, kind: str, group_key: Digest, *, lanes: int, seconds: float) -> None:
        """Take in how long a group took."""
        self._settings.seconds.learn(kind, group_key, lanes=lanes, seconds=seconds)
        self._rates.learn(group_key, lanes=lanes, seconds=seconds)

    def _launch(self, when: When, device: str) -> Launch:
        delay = self._settings.max_batch_delay_seconds
        return Launch(
            when=when,
            max_delay_seconds=usual_delay_seconds(device) if delay is None else delay,
        )
