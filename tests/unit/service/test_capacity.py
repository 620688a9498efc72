"""What fits the devices and the queue; refused when it is planned, not hours later."""

from dataclasses import replace
from typing import cast

import pytest

from auditor.errors import ResourceError
from auditor.plan.footprint import Footprint
from service.capacity import TENANT_SHARE, Capacity
from service.errors import QueueFullError, TenantQueueFullError
from service.planning import AuditPlanner
from service.records.jobs import NewAction
from service.scheduler.memory import MemoryModel
from tests.support.job_records import make_action

QUEUE = 1000


class Predictions:
    """A planner that predicts what the actions say."""

    def footprint(self, action: NewAction, *, log: str) -> Footprint:
        return Footprint(fixed=action.fixed_bytes, examples=action.lane_bytes)


def capacity(*, budget: int | None = 500, max_lanes: int = 8) -> Capacity:
    memory = MemoryModel()
    memory.add_worker("w", budget)
    return Capacity(
        planner=cast("AuditPlanner", Predictions()),
        memory=memory,
        max_lanes=max_lanes,
        queue_bytes=QUEUE,
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


def test_a_full_queue_takes_no_more_for_now() -> None:
    queued = {"other": 590, "third": 300}
    capacity().admit("mine", [action("a", lane=110)], queued=queued)

    with pytest.raises(QueueFullError) as refused:
        capacity().admit("mine", [action("a", lane=111)], queued=queued)

    assert refused.value.code == "QUEUE_FULL"
    assert refused.value.retry_after_seconds


def test_a_tenant_may_fill_its_part_of_the_queue() -> None:
    most = int(TENANT_SHARE * QUEUE)
    capacity().admit("mine", [action("a", lane=most - 100)], queued={"mine": 100})

    with pytest.raises(TenantQueueFullError) as refused:
        capacity().admit("mine", [action("a", lane=most - 99)], queued={"mine": 100})

    assert refused.value.code == "TENANT_QUEUE_FULL"


def test_an_empty_queue_takes_anything() -> None:
    capacity().admit("mine", [action("a", lane=100 * QUEUE)], queued={})


def test_a_forecast_names_the_largest_action_and_the_largest_group() -> None:
    actions = [
        *(action(name, fixed=10, lane=20) for name in "abcd"),
        action("alone", lane=90, group="other"),
    ]

    found = capacity(budget=10**6).forecast(actions)
    small = capacity(budget=round(1.3 * 60)).forecast(actions[:4])

    assert (found.lane_bytes, found.group_bytes, found.group_lanes) == (90, 90, 4)
    assert (small.group_bytes, small.group_lanes) == (50, 2)
