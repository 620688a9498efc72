"""What fits the devices and the queue; refused when it is planned, not hours later."""

from dataclasses import replace
from typing import cast

import pytest

from auditor.errors import ResourceError
from auditor.plan.footprint import Footprint
from auditor.stagelog.digest import sha256
from service.capacity import Capacity
from service.errors import QueueFullError, TenantQueueFullError
from service.planning import AuditPlanner
from service.queue_limit import TENANT_SHARE, PredictedBytes, PredictedSeconds, QueueLimit
from service.records.jobs import NewAction, QueuedWork
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.memory import MemoryModel
from tests.support.job_records import make_action

QUEUE = 1000
IN_BYTES = QueueLimit(measure=PredictedBytes(), most=QUEUE)
KEY = sha256(b"key")


class Predictions:
    """A planner that predicts what the actions say."""

    def footprint(self, action: NewAction, *, log: str) -> Footprint:
        return Footprint(fixed=action.fixed_bytes, examples=action.lane_bytes)


def capacity(*, budget: int | None = 500, limit: QueueLimit = IN_BYTES) -> Capacity:
    memory = MemoryModel()
    memory.add_worker("w", budget)
    return Capacity(
        planner=cast("AuditPlanner", Predictions()), memory=memory, max_lanes=8, limits=(limit,)
    )


def action(name: str, *, fixed: int = 0, lane: int = 100, group: str = "g") -> NewAction:
    return replace(make_action(name, group=group), fixed_bytes=fixed, lane_bytes=lane)


def test_an_action_that_no_device_holds_is_refused_and_waiting_does_not_help() -> None:
    capacity().require([action("a"), action("b", fixed=100, lane=400)], log="l")
    with pytest.raises(ResourceError) as refused:
        capacity().require([action("a"), action("b", fixed=101, lane=400)], log="l")

    assert refused.value.retry_after_seconds is None
    assert "advance" in refused.value.where


def test_nothing_is_refused_before_a_device_has_said_what_it_has() -> None:
    capacity(budget=None).require([action("a", lane=10**15)], log="l")


def waiting(**amounts: int) -> list[QueuedWork]:
    """Return what tenants have in the queue: so many bytes, and as many lanes of one key each."""
    return [
        QueuedWork(tenant=tenant, group_key=KEY, lanes=amount, lane_bytes=amount)
        for tenant, amount in amounts.items()
    ]


def test_a_full_queue_takes_no_more_for_now() -> None:
    queued = waiting(other=590, third=300)
    capacity().admit("mine", [action("a", lane=110)], queued=queued)

    with pytest.raises(QueueFullError) as refused:
        capacity().admit("mine", [action("a", lane=111)], queued=queued)

    assert refused.value.code == "QUEUE_FULL"
    assert refused.value.retry_after_seconds


def test_a_tenant_may_fill_its_part_of_the_queue() -> None:
    most = int(TENANT_SHARE * QUEUE)
    capacity().admit("mine", [action("a", lane=most - 100)], queued=waiting(mine=100))

    with pytest.raises(TenantQueueFullError) as refused:
        capacity().admit("mine", [action("a", lane=most - 99)], queued=waiting(mine=100))

    assert refused.value.code == "TENANT_QUEUE_FULL"


def test_an_empty_queue_takes_anything() -> None:
    capacity().admit("mine", [action("a", lane=100 * QUEUE)], queued=[])


def in_seconds(*, workers: int) -> Capacity:
    """Return a capacity whose queue is 1000 s long, where a group of 8 lanes takes 10 s."""
    seconds = GroupSeconds()
    seconds.learn("advance", KEY, lanes=8, seconds=10.0)
    seconds.learn("advance", KEY, lanes=1, seconds=2.0)
    measure = PredictedSeconds(measured=seconds, workers=lambda: workers, max_lanes=8)
    return capacity(limit=QueueLimit(measure=measure, most=QUEUE))


def test_a_tenant_whose_queue_takes_too_long_is_told_how_long() -> None:
    # 480 lanes are 60 groups of 10 s: 600 s, which is the part of one tenant.
    in_seconds(workers=1).admit("mine", [action("a", group="key")], queued=waiting(mine=479))

    with pytest.raises(TenantQueueFullError) as refused:
        in_seconds(workers=1).admit("mine", [action("a", group="key")], queued=waiting(mine=480))

    assert "600 s of predicted computing waiting, 602 s" in refused.value.found
    assert refused.value.retry_after_seconds == pytest.approx(2.0)


def test_a_queue_that_takes_too_long_takes_no_more_for_now() -> None:
    queued = waiting(other=400, third=400)

    with pytest.raises(QueueFullError):
        in_seconds(workers=1).admit("mine", [action("a", group="key")], queued=queued)

    in_seconds(workers=2).admit("mine", [action("a", group="key")], queued=queued)


def test_what_was_not_measured_is_not_refused_for_its_time() -> None:
    actions = [action(name, group="new") for name in "abc"]

    in_seconds(workers=1).admit("mine", actions, queued=waiting(mine=480))


def test_a_forecast_names_the_largest_action_and_the_largest_group() -> None:
    actions = [
        *(action(name, fixed=10, lane=20) for name in "abcd"),
        action("alone", lane=90, group="other"),
    ]

    found = capacity(budget=10**6).forecast(actions)
    small = capacity(budget=round(1.3 * 60)).forecast(actions[:4])

    assert (found.lane_bytes, found.group_bytes, found.group_lanes) == (90, 90, 4)
    assert (small.group_bytes, small.group_lanes) == (50, 2)
