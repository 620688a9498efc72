"""The scheduler over real records with a full queue: gates, arrivals, cancellations."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.plan.actions import ActionKey
from service.operations import AuditOperations
from service.records.jobs import LeasedAction, NewAction
from service.scheduler.states import AuditState
from tests.support.bulk_audits import store_many
from tests.support.job_records import TENANT, key, make_action, make_audit
from tests.support.rig_device import RigDevice
from tests.support.scheduler_rig import Rig

STORM_AUDITS = 200
DELAY = 0.05


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite", max_batch_delay_seconds=DELAY)
    yield opened
    opened.close()


def chain(name: str, *, stages: int, group: str) -> tuple[NewAction, ...]:
    return tuple(
        make_action(f"{name} {n}", *([f"{name} {n - 1}"] if n else []), group=f"{group} {n}")
        for n in range(stages)
    )


@pytest.mark.parametrize("tenant", ["quiet", "busy"])
def test_a_thousand_audits_delay_a_gate_audit_by_the_group_on_the_device(
    rig: Rig, tenant: str
) -> None:
    """Not even the group that the worker holds already goes before it, at no stage of it."""
    for action in store_many(rig.records, 1000, tenant="busy", group="busy"):
        rig.planner.know(action)
    gate = chain("gate", stages=3, group="gate")
    rig.planner.know(*gate)
    device = RigDevice(rig)
    rig.turn()
    for _ in range(3):
        device.run()

    def ask() -> None:
        rig.audit(*gate, tenant=tenant, priority=2, max_live_audits=2000)

    device.run(between=ask)
    for _ in range(3):
        device.run()

    keys = [[action.key for action in ran] for ran in device.ran[4:]]
    assert keys == [[action.key] for action in gate]
    # What was taken back lost nothing: it is the next, with the attempt that it had.
    device.run()
    assert {action.tenant for action in device.ran[-1]} == {"busy"}
    assert {(action.attempt, action.returned) for action in device.ran[-1]} == {(1, 0)}


def test_a_group_held_by_the_worker_is_not_taken_back_for_equals(rig: Rig) -> None:
    store_many(rig.records, 20, tenant="busy", group="busy")
    rig.turn()

    rig.audit(make_action("more"), tenant="busy", priority=1)

    assert len(rig.executor.submitted) == 2
    assert rig.executor.cancelled == []


def test_batch_work_runs_under_a_stream_of_gates_of_its_tenant(rig: Rig) -> None:
    """Three levels of ageing lift it over the newest gate: 30 minutes and a group, no more."""
    device = RigDevice(rig)
    rig.audit(make_action("batch"), tenant="t", priority=0)
    begun = rig.clock.seconds()
    # The device takes it ahead of the first gate; a gate takes its place, again and again.
    number = 0
    while key("batch") not in {action.key for ran in device.ran for action in ran}:
        for _ in range(2):
            number += 1
            rig.audit(make_action(f"gate {number}"), tenant="t", priority=2, max_live_audits=99)
        device.run(between=lambda: rig.clock.advance(299.0))
        assert rig.clock.seconds() - begun <= 3 * 600 + 2 * 300


def test_an_idle_device_waits_for_an_audit_that_is_on_its_way(patient: Rig) -> None:
    with patient.arrivals.arriving():
        patient.audit(make_action("a", group="g"))
        waiting = len(patient.executor.submitted)
        patient.audit(make_action("b", group="g"))
    patient.turn()

    assert waiting == 0
    ((_, _, group),) = patient.executor.submitted
    assert [action.key for action in group.actions] == [key("a"), key("b")]


def test_an_idle_device_waits_no_longer_than_the_delay(patient: Rig) -> None:
    with patient.arrivals.arriving():
        patient.audit(make_action("a"))
        assert patient.scheduler.patience() == pytest.approx(DELAY)
        patient.clock.advance(DELAY)
        patient.turn()

        assert len(patient.executor.submitted) == 1


def test_an_idle_device_does_not_wait_when_nothing_arrives(patient: Rig) -> None:
    patient.audit(make_action("a"))

    assert len(patient.executor.submitted) == 1


def test_a_storm_of_cancellations_leaves_the_rest_untouched(rig: Rig) -> None:
    rng = random.Random(0)  # noqa: S311 - moments, no secrets
    operations = AuditOperations(
        audits=rig.records.audits,
        reader=rig.records.reader,
        rounds=rig.rounds,
        report=rig.scheduler.report,
    )
    plans = {}
    for number in range(STORM_AUDITS):
        # Every fourth audit asks for what its neighbour asks for as well.
        name = f"{number - 1 if number % 4 == 3 else number}"
        actions = chain(name, stages=2, group="g")
        new = make_audit(*actions, max_live_audits=STORM_AUDITS)
        rig.records.audits.create(new, gone=())
        plans[new.id] = actions
        rig.planner.know(*actions)
    doomed = rng.sample(sorted(plans), STORM_AUDITS // 2)
    left = list(doomed)

    device = RigDevice(rig, blocks=3)
    overrun: list[ActionKey] = []  # lanes that ran a block although nobody wanted them before it

    def wanted(lane: LeasedAction) -> bool:
        gone = set(doomed).difference(left)
        return any(
            lane.key in {a.key for a in plans[audit]} for audit in plans if audit not in gone
        )

    def storm() -> None:
        """Cancel some audits, half of them chosen from the lanes on the device."""
        overrun.extend(a.key for a in device.running if not wanted(a))
        for _ in range(rng.choice((0, 0, 1, 3))):
            on_device = [a for lane in device.running for a in lane.audits if a in left]
            if not left:
                return
            audit = rng.choice(on_device if on_device and rng.random() < 0.5 else left)
            left.remove(audit)
            operations.cancel(TENANT, audit)
            rig.turn()

    rig.turn()
    while device.run(between=storm):
        pass
    states = {audit: rig.row(audit).state for audit in plans}
    assert {states[a] for a in plans if a not in doomed} == {AuditState.SUCCEEDED}
    assert left == []
    assert {states[a] for a in doomed} <= {AuditState.CANCELLED, AuditState.SUCCEEDED}
    assert sum(states[a] is AuditState.CANCELLED for a in doomed) > STORM_AUDITS // 4
    assert overrun == []
    # Nobody ran twice, nothing is left behind, the device is free for the next audit.
    ended = [lane.key for ran in device.ran for lane in ran]
    assert len(ended) == len(set(ended))
    assert rig.records.upkeep.queue() == ()
    assert rig.scheduler.wait_idle(timeout_seconds=0)
    after = make_action("after")
    rig.planner.know(after)
    audit = rig.audit(after)
    device.run()
    assert rig.row(audit).state is AuditState.SUCCEEDED
