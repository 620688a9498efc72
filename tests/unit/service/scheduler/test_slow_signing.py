"""A signature that takes longer than a lease: the scheduler is deaf meanwhile, its workers live."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.executors.base import GroupFailed, WorkerBeat
from service.failures import Failure
from tests.support.job_records import key, make_action
from tests.support.scheduler_rig import LEASE_SECONDS, WORKER, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def sign_slowly(rig: Rig, *beating: str) -> str:
    """Sign one audit while another is computed and these workers beat; return the other."""
    rig.planner.know(make_action("report"))
    rig.audit(make_action("report"))
    done = rig.answer()
    other = rig.audit(make_action("a"))

    def meanwhile() -> None:
        for worker in beating:
            rig.scheduler.report(WorkerBeat(worker=worker))
        rig.clock.advance(LEASE_SECONDS + 1)

    rig.finisher.meanwhile = meanwhile
    rig.turn(done)
    return other


def test_worker_that_beat_during_a_slow_signature_goes_on(rig: Rig) -> None:
    other = sign_slowly(rig, WORKER)

    assert len(rig.finisher.signed) == 1
    assert rig.executor.ended == []
    assert rig.states(other)[key("a")] == "LEASED"


def test_worker_that_was_silent_during_a_slow_signature_is_ended(rig: Rig) -> None:
    other = sign_slowly(rig)

    assert rig.executor.ended == [WORKER]
    assert rig.states(other)[key("a")] == "READY"


def test_what_else_came_during_a_slow_signature_is_handled_next(rig: Rig) -> None:
    rig.planner.know(make_action("report"))
    rig.audit(make_action("report"))
    done = rig.answer()
    other = rig.audit(make_action("a"))
    failure = Failure(code="NUMERICAL_FAILURE", where="x", expected="x", found="x", remedy="x")
    failed = GroupFailed(worker=WORKER, group=rig.running()[0], failure=failure)

    def meanwhile() -> None:
        rig.scheduler.report(failed)
        rig.scheduler.report(WorkerBeat(worker=WORKER))
        rig.clock.advance(LEASE_SECONDS + 1)

    rig.finisher.meanwhile = meanwhile
    rig.turn(done)
    patience, before = rig.scheduler.patience(), rig.row(other).error
    rig.turn()

    assert (patience, before) == (0.0, None)
    after = rig.row(other).error
    assert after is not None
    assert after.code == "NUMERICAL_FAILURE"
