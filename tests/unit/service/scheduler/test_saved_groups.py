"""The scheduler notes where running groups are, and hands that to the next worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.stagelog.digest import Digest, sha256
from service.executors.base import ActionSaved, GroupAbandoned, GroupResumed, GroupSaved, WorkerBeat
from service.scheduler.loop import SWEEP_SECONDS, Revoked
from service.scheduler.states import AuditState
from tests.support.job_records import key, make_action
from tests.support.scheduler_rig import WORKER, Rig

STATE = sha256(b"state")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def saved_event(rig: Rig, *, late_by: int = 0, digest: Digest = STATE) -> GroupSaved:
    """Return the event that every action of the running group was saved."""
    group_id, group = rig.running()
    saved = tuple(
        ActionSaved(key=a.key, fence=a.lease.fence - late_by, step=32, digest=digest)
        for a in group.actions
    )
    return GroupSaved(worker=WORKER, group=group_id, saved=saved)


def counted(rig: Rig, name: str) -> float | None:
    return rig.metrics.registry.get_sample_value(f"stageaudit_{name}_total")


def test_a_group_that_was_saved_and_abandoned_goes_on(rig: Rig) -> None:
    rig.audit(make_action("a", group="g"), make_action("b", group="g"))
    group_id, _ = rig.running()

    rig.turn(saved_event(rig), GroupAbandoned(worker=WORKER, group=group_id))

    _, again = rig.running()
    assert [action.saved for action in again.actions] == [STATE, STATE]
    assert counted(rig, "states_saved") == 2


def test_a_state_with_another_fence_is_not_noted(rig: Rig) -> None:
    rig.audit(make_action("a"))
    group_id, _ = rig.running()

    rig.turn(saved_event(rig, late_by=1), GroupAbandoned(worker=WORKER, group=group_id))

    _, again = rig.running()
    assert [action.saved for action in again.actions] == [None]
    assert counted(rig, "states_saved") == 0


def test_steps_that_were_spared_are_counted_and_say_nothing_about_the_next_group(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    group_id, _ = rig.running()

    rig.turn(GroupResumed(worker=WORKER, group=group_id, steps=64), rig.answer(seconds=1.0))

    assert counted(rig, "steps_resumed") == 64
    assert rig.seconds.of("advance", sha256(b"a"), lanes=1) is None
    assert rig.row(audit).state is AuditState.SUCCEEDED


def test_states_are_swept_once_nothing_goes_on_from_them(rig: Rig) -> None:
    digest = rig.saved.write(b"state")
    rig.audit(make_action("a"))
    rig.turn(saved_event(rig, digest=digest))
    for _ in range(8):  # beyond two sweeps
        rig.clock.advance(SWEEP_SECONDS / 3)
        rig.turn(WorkerBeat(worker=WORKER))
    kept = rig.saved.read(digest)

    rig.turn(rig.answer())
    for _ in range(2):
        rig.clock.advance(SWEEP_SECONDS)
        rig.turn()

    assert kept == b"state"
    assert rig.saved.read(digest) is None


def both(rig: Rig) -> tuple[str, str]:
    """Return audits of two tenants that ask for the same, in one group."""
    first = rig.audit(make_action("first"), make_action("same", "first", group="g"))
    second = rig.audit(
        make_action("first"), make_action("same", "first", group="g"), tenant="other"
    )
    for _, group_id, group in list(rig.executor.submitted):
        rig.turn(rig.answer_to(group_id, group))
    assert [action.key for action in rig.running()[1].actions] == [key("same")] * 2
    return first, second


def test_the_same_action_of_two_tenants_in_one_group_is_answered_for_both(rig: Rig) -> None:
    audits = both(rig)

    rig.turn(rig.answer())

    assert [rig.states(audit)[key("same")] for audit in audits] == ["DONE", "DONE"]


def test_cancelling_one_tenants_audit_leaves_the_same_action_of_another(rig: Rig) -> None:
    first, second = both(rig)
    ended = rig.records.audits.end(first, failure=None)

    rig.scheduler.report(Revoked(leases=ended.revoked))
    rig.turn()
    cancelled = list(rig.executor.cancelled)
    rig.turn(rig.answer())

    assert cancelled == []
    assert rig.states(second)[key("same")] == "DONE"
