"""What the scheduler has queued and runs, as others see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.executors.base import (
    GroupAbandoned,
    GroupStarted,
    GroupStepped,
    WorkerEnded,
    WorkerReady,
)
from service.scheduler.leases import Death
from service.scheduler.picture import DevicePicture, DeviceState, GroupPicture, only_of
from service.scheduler.time_left import TimeLeft
from tests.support.job_records import make_action
from tests.support.scheduler_rig import WORKER, Rig

OTHER = "team-b"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def start(rig: Rig) -> int:
    """Put the group that was handed out last on its device."""
    group, _ = rig.running()
    rig.turn(GroupStarted(worker=WORKER, group=group))
    return group


def look_after_upkeep(rig: Rig) -> None:
    """Let the scheduler count its queue, which it does once a second."""
    rig.clock.advance(1)
    rig.turn()


def groups(rig: Rig) -> tuple[GroupPicture, ...]:
    return rig.overview.picture().groups


def device(rig: Rig) -> DevicePicture:
    return rig.overview.picture().devices[0]


def test_queue_counts_actions_by_where_they_stand(rig: Rig) -> None:
    rig.audit(
        *(make_action(name) for name in "abc"),
        make_action("report", "a", "b", "c", kind="report"),
        priority=2,
    )
    look_after_upkeep(rig)

    gate = rig.overview.picture().queue[2]

    assert (gate.ready, gate.blocked, gate.leased) == (1, 1, 2)
    assert gate.oldest_seconds == 1.0


def test_group_shows_lanes_steps_and_time(rig: Rig) -> None:
    rig.audit(*(make_action(name, group="g") for name in "abc"))
    waiting = groups(rig)[0]
    group = start(rig)
    rig.clock.advance(10)
    rig.turn(GroupStepped(worker=WORKER, group=group, done=25, total=100))

    running = groups(rig)[0]

    assert (waiting.started, waiting.running_seconds, waiting.seconds_left) == (False, 0.0, None)
    assert (running.kind, running.device, running.lanes) == ("advance", "cpu", 3)
    assert running.tenants == {"default": 3}
    assert (running.done_steps, running.total_steps) == (25, 100)
    assert (running.running_seconds, running.seconds_left) == (10.0, 30.0)


def test_group_is_gone_once_it_has_left_its_worker(rig: Rig) -> None:
    rig.audit(make_action("a"))
    start(rig)
    rig.turn(rig.answer())

    assert groups(rig) == ()


def test_abandoned_group_leaves_its_time_and_nothing_else(rig: Rig) -> None:
    rig.audit(make_action("a"))
    group = start(rig)
    rig.clock.advance(6)
    rig.scheduler.drain()
    rig.turn(GroupAbandoned(worker=WORKER, group=group))

    assert groups(rig) == ()
    assert device(rig).busy_share == 1.0


def test_device_is_busy_while_it_computes(rig: Rig) -> None:
    idle = device(rig)
    rig.clock.advance(10)
    rig.audit(make_action("a"))
    start(rig)
    rig.clock.advance(30)
    busy = device(rig)
    rig.turn(rig.answer(seconds=30.0))
    rig.clock.advance(200)

    assert (idle.state, idle.busy_share, idle.workers) == (DeviceState.IDLE, 0.0, 1)
    assert (busy.state, busy.busy_share) == (DeviceState.BUSY, 0.75)
    assert device(rig).busy_share == 0.0


def test_dead_worker_leaves_its_device_until_another_is_ready(rig: Rig) -> None:
    rig.audit(make_action("a"))
    start(rig)
    rig.turn(WorkerEnded(worker=WORKER, device="cpu", death=Death.KILLED))
    dead, held = device(rig), groups(rig)
    rig.turn(WorkerReady(worker="cpu#0.2", device="cpu"))

    assert (dead.state, dead.workers, dead.restarts, held) == (DeviceState.NO_WORKER, 0, 1, ())
    assert (device(rig).workers, device(rig).restarts) == (1, 1)
    assert device(rig).groups == 1  # handed out again


def test_lanes_are_averaged_over_the_groups_that_ended(rig: Rig) -> None:
    rig.audit(*(make_action(name, group="g") for name in "abc"), make_action("d"))
    for _, group, _ in list(rig.executor.submitted):
        rig.turn(GroupStarted(worker=WORKER, group=group))
    running = rig.overview.picture().lanes
    rig.answer_all(failing=make_action("none").key, failure=None)  # type: ignore[arg-type]

    lanes = rig.overview.picture().lanes

    assert (running.running, running.max_lanes, running.recent_groups) == (4, 8, 0)
    assert (lanes.running, lanes.recent_groups, lanes.recent_mean) == (0, 2, 2.0)


def test_tenants_share_a_group_by_their_lanes(rig: Rig) -> None:
    first = make_action("a", group="one"), make_action("b", group="one")
    rig.audit(make_action("x"), make_action("y"))  # keeps the worker
    rig.audit(*first, audit="1" * 26)
    rig.audit(make_action("c", group="one"), tenant=OTHER, audit="2" * 26)  # takes the place of y
    shared_id, _ = rig.running()
    _, number, group = rig.executor.submitted[0]
    rig.turn(rig.answer_to(number, group))
    rig.turn(GroupStarted(worker=WORKER, group=shared_id))
    rig.clock.advance(5)
    look_after_upkeep(rig)

    picture = rig.overview.picture()
    rows = {row.tenant: row for row in picture.tenants}

    shared = [group for group in picture.groups if group.lanes == 3]
    assert [group.tenants for group in shared] == [{"default": 2, OTHER: 1}]
    assert rows[OTHER].running_lanes + rows["default"].running_lanes == 3
    assert rows[OTHER].device_share == pytest.approx(1 / 3)


def test_tenant_sees_its_own_rows_and_the_totals(rig: Rig) -> None:
    rig.audit(make_action("a", group="one"))
    rig.audit(make_action("b", group="two"), tenant=OTHER)
    look_after_upkeep(rig)
    whole = rig.overview.picture()

    seen = only_of(whole, OTHER)

    assert whole.all_tenants
    assert not seen.all_tenants
    assert [row.tenant for row in seen.tenants] == [OTHER]
    assert [dict(group.tenants) for group in seen.groups] == [{OTHER: 1}]
    assert (seen.queue, seen.lanes, seen.devices) == (whole.queue, whole.lanes, whole.devices)
    assert only_of(whole, "nobody").groups == ()


def test_audits_that_ended_are_counted_for_their_tenant(rig: Rig) -> None:
    rig.audit(make_action("report", kind="report"))
    rig.turn(rig.answer())

    row = rig.overview.picture().tenants[0]

    assert (row.tenant, row.succeeded, row.failed, row.cancelled) == ("default", 1, 0, 0)


def test_time_left_is_learned_from_groups_of_the_kind(rig: Rig) -> None:
    rig.audit(make_action("seen"))
    rig.turn(rig.answer(seconds=8.0))
    rig.audit(make_action("report seen", kind="report"))
    rig.turn(rig.answer(seconds=1.0))
    look_after_upkeep(rig)
    audit = rig.audit(
        *(make_action(name) for name in "abcd"),
        make_action("report", *"abcd", kind="report"),
    )
    unknown = rig.overview.time_left(rig.row(audit))
    look_after_upkeep(rig)

    left = rig.overview.time_left(rig.row(audit))

    assert unknown is None  # the queue was read before it came
    assert left == TimeLeft(seconds=4 * 8.0 + 1.0, at_least=False)


def test_time_left_counts_what_is_served_first_and_not_what_comes_after(rig: Rig) -> None:
    rig.audit(make_action("seen"))
    rig.turn(rig.answer(seconds=8.0))
    first = rig.audit(make_action("a"), make_action("b"), deadline=3e9)
    second = rig.audit(make_action("c"), make_action("d"), deadline=4e9)
    look_after_upkeep(rig)

    before = [rig.overview.time_left(rig.row(audit)) for audit in (first, second)]
    gate = rig.audit(make_action("e"), deadline=5e9, priority=2)
    look_after_upkeep(rig)
    after = [rig.overview.time_left(rig.row(audit)) for audit in (first, second, gate)]

    assert [left.seconds for left in before if left] == [16.0, 32.0]
    # The gate has taken the place of b behind the group on the device.
    assert [left.seconds for left in after if left] == [24.0, 40.0, 8.0]
    assert all(left is not None and left.at_least for left in (*before, *after))


def test_nothing_is_left_of_an_audit_that_is_over(rig: Rig) -> None:
    audit = rig.audit(make_action("report", kind="report"))
    rig.turn(rig.answer())
    look_after_upkeep(rig)

    assert rig.overview.time_left(rig.row(audit)) is None


@pytest.mark.parametrize(("seconds", "counts"), [(0.0, 60), (0.5, 5)])
def test_a_queue_that_takes_long_to_count_is_counted_less_often(
    rig: Rig, seconds: float, counts: int
) -> None:
    rig.upkeep.seconds = seconds
    rig.upkeep.counts = 0

    for _ in range(60):
        rig.clock.advance(1)
        rig.turn()

    assert rig.upkeep.counts == pytest.approx(counts, abs=1)
