"""Groups that wait on a worker are looked at again and again, which costs their tenants nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.executors.base import GroupStarted, WorkerReady
from service.scheduler.fair_share import FairShare
from service.scheduler.loop import Wake
from tests.support.job_records import make_action
from tests.support.scheduler_rig import Rig

TENANTS = ("a", "b", "c")
WORKERS = ("cpu#0.1", "cpu#1.1")

served = st.tuples(st.lists(st.sampled_from(TENANTS), min_size=1, max_size=4), st.floats(0.1, 9))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    opened.turn(WorkerReady(worker=WORKERS[1], device="cpu"))
    yield opened
    opened.close()


def starts(shares: FairShare) -> dict[str, float]:
    return {tenant: shares.start_of(tenant) for tenant in (*TENANTS, "new")}


def owe(rig: Rig, tenant: str, *, seconds: float) -> None:
    """Let a tenant have computed for so long while another one waits."""
    rig.shares.serve([tenant], seconds=seconds)


def wait_on_two_workers(rig: Rig) -> None:
    """Hand out four groups of tenant a, of which two wait; those cost differently."""
    for number in range(4):
        # Two lanes are expected to cost more than one.
        lanes = 1 + number % 2
        actions = [make_action(f"{number} {lane}", group=f"g{number}") for lane in range(lanes)]
        rig.audit(*actions, tenant="a")
    for _, group_id, _ in rig.executor.submitted[:2]:
        rig.scheduler.report(GroupStarted(worker=WORKERS[0], group=group_id))
    rig.turn()


def test_turns_without_work_change_nobodys_share(rig: Rig) -> None:
    owe(rig, "b", seconds=50.0)
    wait_on_two_workers(rig)
    before = starts(rig.shares)
    written = len(rig.records.writes)

    for _ in range(25):
        rig.turn(Wake())  # type: ignore[arg-type]  # an event of the loop, not of a worker

    assert len(rig.executor.submitted) == 4
    assert starts(rig.shares) == before
    assert before["b"] == 50.0
    assert "recall" not in rig.records.writes[written:]


@given(groups=st.lists(served, min_size=1, max_size=6), chosen=st.integers(0, 5))
def test_looking_at_a_group_tells_what_taking_it_back_leaves_and_changes_nothing(
    groups: list[tuple[list[str], float]], chosen: int
) -> None:
    shares = FairShare({"b": 3.0})
    charges = [shares.serve(tenants, seconds=seconds) for tenants, seconds in groups]
    charge = charges[chosen % len(charges)]
    before = starts(shares)

    expected = {tenant: shares.start_without(charge)(tenant) for tenant in before}

    assert starts(shares) == before
    shares.undo(charge)
    assert starts(shares) == pytest.approx(expected)


@given(kept=st.lists(served, max_size=4), undone=st.lists(served, min_size=1, max_size=4))
def test_groups_taken_back_last_first_leave_no_trace(
    kept: list[tuple[list[str], float]], undone: list[tuple[list[str], float]]
) -> None:
    shares = FairShare({"b": 3.0})
    for tenants, seconds in kept:
        shares.serve(tenants, seconds=seconds)
    before = starts(shares)
    charges = [shares.serve(tenants, seconds=seconds) for tenants, seconds in undone]

    for charge in reversed(charges):
        shares.undo(charge)

    assert starts(shares) == pytest.approx(before)


def test_both_groups_that_wait_are_taken_back_for_a_gate(rig: Rig) -> None:
    wait_on_two_workers(rig)
    waiting = [group_id for _, group_id, _ in rig.executor.submitted[2:]]

    rig.audit(make_action("gate"), tenant="b", priority=2)

    assert [group_id for _, group_id, _ in rig.executor.cancelled] == waiting[::-1]
    assert rig.records.writes.count("recall") == 2
    _, _, next_one = rig.executor.submitted[4]
    assert {action.tenant for action in next_one.actions} == {"b"}
