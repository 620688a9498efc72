import pytest

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from service.failures import Failure
from service.records.jobs import GiveUp, Lease, LeasedAction, Retry
from service.scheduler.leases import (
    RETURN_LIMIT,
    Death,
    RetryPolicy,
    after_death,
    after_expiry,
    after_failure,
    after_interruption,
)

POLICY = RetryPolicy(max_attempts=3, jitter=1.0)


def make_leased(*, attempt: int = 1, returned: int = 0, deaths: int = 0) -> LeasedAction:
    return LeasedAction(
        tenant="default",
        lease=Lease(action=1, fence=1),
        key=ActionKey("0" * 64),
        kind="advance",
        group_key=Digest("1" * 64),
        spec="{}",
        attempt=attempt,
        returned=returned,
        deaths=deaths,
        priority=1,
        waited_seconds=0.0,
        audits=(),
    )


def make_failure(code: str) -> Failure:
    return Failure(code=code, where="w", expected="e", found="f", remedy="r")


@pytest.mark.parametrize("code", ["UNAVAILABLE", "WORKER_LOST"])
def test_passing_troubles_are_tried_again_later_and_later(code: str) -> None:
    delays = [
        after_failure(make_leased(attempt=n), make_failure(code), lanes=4, policy=POLICY)
        for n in (1, 2)
    ]

    assert delays == [Retry(delay_seconds=2.0), Retry(delay_seconds=4.0)]


def test_the_delay_is_bounded_and_jittered() -> None:
    policy = RetryPolicy(max_attempts=100, jitter=0.5)

    assert after_expiry(make_leased(attempt=50), policy=policy) == Retry(delay_seconds=30.0)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "WORKER_LOST"])
def test_the_last_attempt_is_given_up(code: str) -> None:
    failure = make_failure(code)

    decision = after_failure(make_leased(attempt=3), failure, lanes=1, policy=POLICY)

    assert decision == GiveUp(failure=failure)


@pytest.mark.parametrize(
    "code", ["NUMERICAL_FAILURE", "UNSUPPORTED", "INTERNAL", "RESOURCE_EXHAUSTED"]
)
def test_an_error_is_pinned_to_one_lane_before_it_is_final(code: str) -> None:
    failure = make_failure(code)

    grouped = after_failure(make_leased(), failure, lanes=5, policy=POLICY)
    single = after_failure(make_leased(), failure, lanes=1, policy=POLICY)

    assert grouped == Retry(give_back=True, max_lanes=2)
    assert single == GiveUp(failure=failure)


def test_a_killing_from_outside_gives_the_attempt_back() -> None:
    decision = after_death(make_leased(attempt=3), Death.KILLED, lanes=4, policy=POLICY)

    assert decision == Retry(give_back=True)


def test_attempts_are_not_given_back_for_ever() -> None:
    tired = make_leased(attempt=1, returned=RETURN_LIMIT)

    decision = after_interruption(tired, make_failure("WORKER_LOST"), POLICY)

    assert decision == Retry(delay_seconds=2.0)


def test_a_crash_of_a_group_is_no_evidence_against_a_member() -> None:
    decision = after_death(make_leased(deaths=1), Death.FAULT, lanes=2, policy=POLICY)

    assert decision == Retry(give_back=True, max_lanes=1)


def test_the_second_crash_of_a_single_action_is_poison() -> None:
    first = after_death(make_leased(), Death.FAULT, lanes=1, policy=POLICY)
    second = after_death(make_leased(attempt=2, deaths=1), Death.FAULT, lanes=1, policy=POLICY)

    assert first == Retry(delay_seconds=2.0, died=True)
    assert isinstance(second, GiveUp)
    assert second.failure.code == "POISON"


def test_a_worker_that_exits_spends_the_attempt() -> None:
    first = after_death(make_leased(), Death.EXIT, lanes=4, policy=POLICY)
    last = after_death(make_leased(attempt=3), Death.EXIT, lanes=4, policy=POLICY)

    assert first == Retry(delay_seconds=2.0)
    assert isinstance(last, GiveUp)
    assert last.failure.code == "WORKER_LOST"
