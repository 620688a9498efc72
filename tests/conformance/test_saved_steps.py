"""Where actions can go on from, in every implementation of the job records; SQLite today."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.stagelog.digest import sha256
from service.failures import Failure
from service.records.jobs import GiveUp, LeasedAction, Retry
from service.records.saved_step import SavedStep
from tests.support.fake_clock import FakeClock
from tests.support.job_records import Records, completion, make_action, make_audit

STATE, LATER = sha256(b"state"), sha256(b"later state")
FAILURE = Failure(code="NUMERICAL_FAILURE", where="steps[3]", expected="x", found="y", remedy="z")


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records(tmp_path / "records.sqlite", FakeClock())
    yield opened
    opened.database.close()


def leased(records: Records) -> LeasedAction:
    group = records.claim()
    assert group is not None
    return group.actions[0]


@pytest.fixture
def saved(records: Records) -> LeasedAction:
    """Return a leased action that was saved twice."""
    records.audits.create(make_audit(make_action("a")), gone=())
    action = leased(records)
    for step, digest in ((32, STATE), (64, LATER)):
        assert records.leases.save({action.lease: SavedStep(step=step, digest=digest)}) == 1
    return action


def test_who_takes_the_action_next_is_told_the_last_state(
    records: Records, saved: LeasedAction
) -> None:
    records.leases.put_back({saved.lease: Retry(give_back=True)})

    again = leased(records)

    assert saved.saved is None
    assert again.saved == LATER
    assert records.upkeep.saved() == {LATER}


def test_a_restart_keeps_the_state(records: Records, saved: LeasedAction) -> None:
    records.upkeep.recover()

    assert leased(records).saved == LATER


def test_a_state_under_a_lease_that_is_void_is_not_noted(
    records: Records, saved: LeasedAction
) -> None:
    records.leases.put_back({saved.lease: Retry(give_back=True)})
    again = leased(records)

    late = records.leases.save({saved.lease: SavedStep(step=96, digest=STATE)})

    assert late == 0
    records.leases.put_back({again.lease: Retry(give_back=True)})
    assert leased(records).saved == LATER


def test_a_finished_action_has_no_state_and_starts_anew_when_its_result_is_gone(
    records: Records, saved: LeasedAction
) -> None:
    done = completion(saved)
    records.leases.complete([done])
    wanted = records.upkeep.saved()

    records.audits.create(make_audit(make_action("a")), gone=(done.digest,))

    assert wanted == frozenset()
    assert leased(records).saved is None


def test_an_action_that_crashed_its_worker_starts_anew(
    records: Records, saved: LeasedAction
) -> None:
    records.leases.put_back({saved.lease: Retry(died=True)})

    assert leased(records).saved is None


def test_a_failed_action_that_is_asked_for_again_starts_anew(
    records: Records, saved: LeasedAction
) -> None:
    records.leases.put_back({saved.lease: GiveUp(failure=FAILURE)})
    records.audits.create(make_audit(make_action("a")), gone=())

    assert leased(records).saved is None


def test_nothing_goes_on_from_the_state_of_a_cancelled_action(records: Records) -> None:
    audit = make_audit(make_action("a"))
    records.audits.create(audit, gone=())
    action = leased(records)
    records.leases.save({action.lease: SavedStep(step=32, digest=STATE)})

    records.audits.end(audit.id, failure=None)

    assert records.upkeep.saved() == frozenset()
