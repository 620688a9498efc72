"""What is shown of the memory of devices: reserved while a group is there, over all workers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.plan.room import FIRST_FACTOR
from service.executors.base import (
    GroupAbandoned,
    GroupDone,
    GroupFailed,
    GroupResumed,
    GroupStarted,
    WorkerEnded,
    WorkerEvent,
    WorkerReady,
)
from service.failures import Failure
from service.scheduler.leases import Death
from service.scheduler.picture import MemoryPicture
from tests.support.job_records import make_action
from tests.support.scheduler_rig import WORKER, Rig

OTHER = "cpu#1.1"
LANE_BYTES = 1000
RESERVED = round(FIRST_FACTOR * LANE_BYTES)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def start(rig: Rig, name: str, *, worker: str) -> int:
    """Put a group of one lane on a worker's device."""
    rig.audit(replace(make_action(name), lane_bytes=LANE_BYTES))
    group_id, _ = rig.running()
    rig.turn(GroupStarted(worker=worker, group=group_id))
    return group_id


def shown(rig: Rig) -> MemoryPicture:
    """Return what the overview shows, which is what the gauges say."""
    (device,) = rig.overview.picture().devices
    for state in ("budget", "reserved", "used"):
        gauge = rig.metrics.registry.get_sample_value(
            "stageaudit_device_memory_bytes", {"device": "cpu", "state": state}
        )
        assert gauge == getattr(device.memory, state)
    return device.memory


def done(group: int, *, peak: int | None = None) -> GroupDone:
    return GroupDone(worker=WORKER, group=group, results=(), compute_seconds=1.0, peak_bytes=peak)


FAILURE = Failure(code="NUMERICAL_FAILURE", where="x", expected="x", found="x", remedy="x")
ENDS: dict[str, Callable[[int], tuple[WorkerEvent, ...]]] = {
    "not measured": lambda group: (done(group),),
    "resumed": lambda group: (
        GroupResumed(worker=WORKER, group=group, steps=3),
        done(group, peak=5),
    ),
    "failed": lambda group: (GroupFailed(worker=WORKER, group=group, failure=FAILURE),),
    "abandoned": lambda group: (GroupAbandoned(worker=WORKER, group=group),),
    "worker ended": lambda _: (WorkerEnded(worker=WORKER, device="cpu", death=Death.KILLED),),
}


@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_reserved_once_a_group_has_left(rig: Rig, how: str) -> None:
    group = start(rig, "a", worker=WORKER)
    before = rig.overview.picture().devices[0].memory.reserved

    rig.turn(*ENDS[how](group))

    assert before == RESERVED
    assert rig.overview.picture().devices[0].memory.reserved == 0


def test_workers_of_one_device_are_added_up(rig: Rig) -> None:
    for worker in (WORKER, OTHER):
        rig.turn(WorkerReady(worker=worker, device="cpu", memory_bytes=10 * LANE_BYTES))
    first = start(rig, "a", worker=WORKER)
    start(rig, "b", worker=OTHER)
    both = shown(rig)
    rig.turn(replace(rig.answer_to(first, rig.executor.submitted[0][2]), peak_bytes=700))
    one = shown(rig)
    rig.turn(WorkerEnded(worker=OTHER, device="cpu", death=Death.KILLED))

    assert both == MemoryPicture(budget=20 * LANE_BYTES, reserved=2 * RESERVED)
    assert one == MemoryPicture(budget=20 * LANE_BYTES, reserved=RESERVED, used=700)
    assert shown(rig) == MemoryPicture(budget=10 * LANE_BYTES, reserved=0, used=700)


def test_what_is_fixed_is_reserved_once_for_each_log(rig: Rig) -> None:
    rig.audit(
        *(
            replace(make_action(name, group="g"), spec=f'{{"log":"{log}"}}', fixed_bytes=100)
            for name, log in (("a", "first"), ("b", "first"), ("c", "second"))
        )
    )
    group_id, _ = rig.running()

    rig.turn(GroupStarted(worker=WORKER, group=group_id))

    assert shown(rig).reserved == round(FIRST_FACTOR * 2 * 100)


def test_device_without_a_worker_has_no_budget(rig: Rig) -> None:
    rig.turn(WorkerReady(worker=WORKER, device="cpu", memory_bytes=10 * LANE_BYTES))
    rig.turn(WorkerEnded(worker=WORKER, device="cpu", death=Death.KILLED))

    gauge = rig.metrics.registry.get_sample_value(
        "stageaudit_device_memory_bytes", {"device": "cpu", "state": "budget"}
    )
    assert gauge == 0
