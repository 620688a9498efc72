"""Does an audit fit the devices? Asked when it is planned, not hours later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from auditor.plan.footprint import require_fits
from auditor.plan.room import Needed
from service.planning import AuditPlanner
from service.queue_limit import QueueLimit
from service.records.jobs import NewAction, QueuedWork
from service.scheduler.memory import MemoryModel


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryForecast:
    """Predicted device memory of an audit's actions that are not finished.

    Attributes:
        lane_bytes: Of the action that needs most alone.
        group_bytes: Of the group that needs most, as groups would be formed of these actions.
        group_lanes: How many lanes that group would have.
        budget_bytes: What groups of the largest device may use; None while no device is ready.
    """

    lane_bytes: int
    group_bytes: int
    group_lanes: int
    budget_bytes: int | None


@final
class Capacity:
    """Knows the devices and what actions need.

    Args:
        planner: Predicts.
        memory: Budgets and corrections.
        max_lanes: Largest group.
        limits: How much may wait.
    """

    def __init__(
        self,
        *,
        planner: AuditPlanner,
        memory: MemoryModel,
        max_lanes: int,
        limits: Sequence[QueueLimit],
    ) -> None:
        self._planner = planner
        self._memory = memory
        self._max_lanes = max_lanes
        self._limits = limits

    def require(self, actions: Sequence[NewAction], *, log: str) -> None:
        """Refuse actions of which one alone exceeds every device.

        Raises:
            ResourceError: With what would fit; waiting does not help.
        """
        budget = self._memory.budget
        if budget is None or all(a.fixed_bytes + a.lane_bytes <= budget for a in actions):
            return
        largest = max(actions, key=lambda a: a.fixed_bytes + a.lane_bytes)
        needed = self._planner.footprint(largest, log=log)
        require_fits(needed, kind=largest.kind, budget=budget)

    def admit(
        self, tenant: str, actions: Sequence[NewAction], *, queued: Sequence[QueuedWork]
    ) -> None:
        """Refuse actions for which there is no room in the queue now.

        Any queue takes an audit that adds nothing to it.

        Args:
            tenant: Who asks.
            actions: What would be added: neither finished nor pending.
            queued: What waits or runs.

        Raises:
            QueueFullError: If the queue would be too long.
            TenantQueueFullError: If the tenant's part of it would be.
        """
        if not actions:
            return
        asked = [
            QueuedWork(
                tenant=tenant, group_key=action.group_key, lanes=1, lane_bytes=action.lane_bytes
            )
            for action in actions
        ]
        for limit in self._limits:
            limit.require(tenant, asked, queued=queued)

    def forecast(self, actions: Sequence[NewAction]) -> MemoryForecast:
        """Return what actions should need, the largest of them alone and the largest group."""
        return forecast_memory(actions, memory=self._memory, max_lanes=self._max_lanes)


def forecast_memory(
    actions: Sequence[NewAction], *, memory: MemoryModel, max_lanes: int
) -> MemoryForecast:
    """Return what actions of one log should need, the largest alone and the largest group.

    Args:
        actions: Those that are not finished.
        memory: Budgets and corrections.
        max_lanes: Largest group.
    """
    groups: dict[str, list[NewAction]] = {}
    for action in actions:
        groups.setdefault(action.group_key, []).append(action)
    formed = [
        memory.formed(
            members[0].kind,
            members[0].group_key,
            needed=Needed(
                fixed=max(a.fixed_bytes for a in members),
                lane=max(a.lane_bytes for a in members),
            ),
            most=min(len(members), max_lanes),
        )
        for members in groups.values()
    ]
    size, lanes = max(formed, default=(0, 0))
    return MemoryForecast(
        lane_bytes=max((a.fixed_bytes + a.lane_bytes for a in actions), default=0),
        group_bytes=size,
        group_lanes=lanes,
        budget_bytes=memory.budget,
    )
