"""What several front ends do to one database: each thing once, by whichever comes first."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from auditor.stagelog.digest import sha256
from service.records.base import RequestKey
from service.records.front_end import FrontEnd
from service.records.jobs import AuditRow, LeasedGroup, Retry, SignedReport
from service.records.ready_work import SqlReadyWork
from service.scheduler.states import ActionState, AuditState
from tests.support.fake_clock import FakeClock
from tests.support.job_records import (
    TENANT,
    Records,
    completion,
    key,
    make_action,
    make_audit,
)
from tests.support.postgres import PostgresServer

Pair = tuple[Records, Records]


def open_pair(where: Path | str) -> Iterator[Pair]:
    clock = FakeClock()
    pair = (
        Records(where, clock, front_end=FrontEnd(id="A")),
        Records(where, clock, front_end=FrontEnd(id="B")),
    )
    yield pair
    for records in pair:
        records.database.close()


@pytest.fixture
def pair(records_at: Path | str) -> Iterator[Pair]:
    """Open one database for two front ends; SQLite has one only, and must do the same."""
    yield from open_pair(records_at)


@pytest.fixture
def postgres_pair(postgres: PostgresServer) -> Iterator[Pair]:
    yield from open_pair(postgres.clean())


def at_once(*work: Callable[[], None]) -> None:
    """Run these at the same time and wait for all."""
    failures: list[BaseException] = []
    together = threading.Barrier(len(work))

    def run(each: Callable[[], None]) -> None:
        try:
            together.wait()
            each()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def names(group: LeasedGroup | None) -> set[str]:
    return {action.key for action in group.actions} if group else set()


def signed(name: str) -> SignedReport:
    return SignedReport(
        digest=sha256(name.encode()),
        bundle=sha256(f"bundle {name}".encode()),
        bundle_size_bytes=5,
        keyid="0" * 64,
    )


def test_concurrent_claims_share_the_queue_without_doubles_or_losses(postgres_pair: Pair) -> None:
    actions = [make_action(f"{number}", group=f"g{number % 4}") for number in range(60)]
    for start in range(0, 60, 20):
        postgres_pair[0].audits.create(make_audit(*actions[start : start + 20]), gone=())
    both_looked = threading.Barrier(2)
    claimed: list[list[str]] = [[], []]

    def claim_all(number: int) -> None:
        waited = False

        def start_of(_tenant: str) -> float:
            nonlocal waited
            if not waited:  # both have read the queue, and choose the same group
                waited = True
                both_looked.wait()
            return 0.0

        while True:
            claim = postgres_pair[number].claim_for("worker", max_lanes=4, start_of=start_of)
            group = claim.group
            if group is None:
                return
            claimed[number] += [action.key for action in group.actions]

    at_once(lambda: claim_all(0), lambda: claim_all(1))

    assert sorted(claimed[0] + claimed[1]) == sorted(key(f"{number}") for number in range(60))
    assert all(claimed)


def test_a_claim_does_not_wait_for_another_that_is_not_finished(postgres_pair: Pair) -> None:
    first, second = postgres_pair
    audit = make_audit(make_action("a", group="g"), make_action("b", group="g"), make_action("c"))
    first.audits.create(audit, gone=())
    held, go_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        ready = SqlReadyWork(connection, now=first.clock.seconds(), start_of=lambda _: 0.0)
        head = ready.head(passed_over={sha256(b"c")})
        assert head is not None
        assert len(ready.companions(head, limit=8)) == 2
        held.set()
        assert go_on.wait(60)

    holding = threading.Thread(target=first.database.write, args=("hold", hold))
    holding.start()
    assert held.wait(60)

    claimed, nothing = second.claim(), second.claim()
    go_on.set()
    holding.join()

    assert names(claimed) == {key("c")}
    assert nothing is None
    assert names(second.claim()) == {key("a"), key("b")}  # it gave them up


def test_recover_leaves_leases_of_other_front_ends(pair: Pair) -> None:
    first, second = pair
    first.audits.create(make_audit(make_action("a"), make_action("b")), gone=())
    mine, other = first.claim(), second.claim()
    assert mine is not None
    assert other is not None

    assert first.upkeep.recover() == 1

    assert second.leases.extend([other.actions[0].lease], lease_seconds=30) == ()
    assert first.leases.extend([mine.actions[0].lease], lease_seconds=30) != ()


def test_leases_of_a_front_end_that_is_gone_are_found_by_another(pair: Pair) -> None:
    first, second = pair
    first.audits.create(make_audit(make_action("a")), gone=())
    group = first.claim()
    assert group is not None

    first.clock.advance(31)

    assert set(first.upkeep.expire()) == {group.actions[0].lease}  # it lives and ends them itself
    assert second.upkeep.expire() == {}
    assert second.upkeep.abandoned() == {}
    first.clock.advance(2)
    assert set(second.upkeep.abandoned()) == {group.actions[0].lease}
    assert first.upkeep.abandoned() == {}


def test_a_lease_that_is_put_back_twice_is_put_back_once(pair: Pair) -> None:
    first, second = pair
    first.audits.create(make_audit(make_action("a")), gone=())
    group = first.claim()
    assert group is not None
    lease = group.actions[0].lease
    lost: list[tuple[object, ...]] = []

    at_once(
        lambda: lost.append(first.leases.put_back({lease: Retry(give_back=True)}).lost),
        lambda: lost.append(second.leases.put_back({lease: Retry(give_back=True)}).lost),
    )

    assert sorted(lost, key=len) == [(), (lease,)]
    again = second.claim()
    assert again is not None
    assert (again.actions[0].attempt, again.actions[0].returned) == (1, 1)


def test_one_request_id_makes_one_audit_at_two_front_ends(pair: Pair) -> None:
    request = RequestKey(id="r", digest=sha256(b"1"))
    rows: list[AuditRow] = []

    def create(records: Records) -> None:
        new = make_audit(make_action("a"), request=request)
        rows.append(records.audits.create(new, gone=())[0])

    at_once(lambda: create(pair[0]), lambda: create(pair[1]))

    assert rows[0].id == rows[1].id
    assert len(pair[0].reader.page(TENANT, limit=10, before=None, log=None)) == 1


def test_actions_asked_for_at_two_front_ends_are_computed_once(pair: Pair) -> None:
    shared = [make_action(name) for name in "abcdef"]
    created = []

    def create(records: Records) -> None:
        created.append(records.audits.create(make_audit(*shared), gone=())[1])

    at_once(lambda: create(pair[0]), lambda: create(pair[1]))

    assert sorted(len(plan.new) for plan in created) == [0, 6]
    assert sorted(len(plan.joined) for plan in created) == [0, 6]


def test_a_settled_audit_is_taken_by_one_front_end_until_its_time_is_over(pair: Pair) -> None:
    first, second = pair
    new = make_audit(make_action("a"))
    first.audits.create(new, gone=())
    group = first.claim()
    assert group is not None
    first.leases.complete([completion(group.actions[0])])

    assert first.audits.take(new.id, seconds=30)
    assert first.audits.take(new.id, seconds=30)
    assert not second.audits.take(new.id, seconds=30)
    assert first.upkeep.settled() == (new.id,)
    assert second.upkeep.settled() == ()
    first.clock.advance(31)
    assert second.upkeep.settled() == (new.id,)
    assert second.audits.take(new.id, seconds=30)
    second.audits.end(new.id, failure=None)
    assert not second.audits.take(new.id, seconds=30)


def test_a_round_planned_twice_at_once_is_added_once(pair: Pair) -> None:
    new = make_audit(make_action("a"))
    pair[0].audits.create(new, gone=())
    plans = []

    def plan(records: Records) -> None:
        plans.append(records.audits.append(new.id, [make_action("b")], gone=(), after_round=1))

    at_once(lambda: plan(pair[0]), lambda: plan(pair[1]))

    assert sorted(plan.new for plan in plans) == [(), (key("b"),)]
    assert pair[0].reader.get(TENANT, new.id).round == 2
    kinds = [event.kind for event in pair[0].reader.events(new.id, after=0)]
    assert kinds == ["planned", "planned"]


def test_an_audit_that_is_signed_twice_at_once_has_one_report(pair: Pair) -> None:
    new = make_audit(make_action("a"))
    pair[0].audits.create(new, gone=())
    begun: list[bool] = []
    stored: list[bool] = []
    both_began = threading.Barrier(2)

    def sign(records: Records, name: str) -> None:
        begun.append(records.audits.begin_signing(new.id))
        both_began.wait()
        stored.append(records.audits.finish(new.id, signed(name)))

    at_once(lambda: sign(pair[0], "1"), lambda: sign(pair[1], "2"))

    assert begun == [True, True]
    assert sorted(stored) == [False, True]
    assert len(pair[0].catalogue.reports(TENANT, log=None, after=None, limit=10)) == 1
    kinds = [event.kind for event in pair[0].reader.events(new.id, after=0)]
    assert kinds == ["planned", "signing", "succeeded"]


def test_an_audit_that_two_end_is_ended_by_one(pair: Pair) -> None:
    new = make_audit(make_action("a"), deadline=pair[0].clock.seconds() - 1)
    pair[0].audits.create(new, gone=())
    ended = []

    at_once(*[
        lambda r=records: ended.append(r.audits.end(new.id, failure=None)) for records in pair
    ])

    assert sorted(len(each.audits) for each in ended) == [0, 1]


def test_a_cancellation_is_learned_from_the_next_heartbeat(pair: Pair) -> None:
    first, second = pair
    new = make_audit(make_action("a"))
    first.audits.create(new, gone=())
    group = first.claim()
    assert group is not None
    lease = group.actions[0].lease

    assert second.audits.end(new.id, failure=None).revoked == (lease,)

    assert first.leases.extend([lease], lease_seconds=30) == (lease,)
    assert first.leases.complete([completion(group.actions[0])]).lost == (lease,)


def test_a_cancellation_and_the_last_result_at_once_leave_one_end(pair: Pair) -> None:
    first, second = pair
    new = make_audit(make_action("a"), make_action("b", "a"))
    first.audits.create(new, gone=())
    group = first.claim()
    assert group is not None

    at_once(
        lambda: first.leases.complete([completion(group.actions[0])]) and None,
        lambda: second.audits.end(new.id, failure=None) and None,
    )

    states = {row.key: row.state for row in first.reader.actions(new.id)}
    assert first.reader.get(TENANT, new.id).state is AuditState.CANCELLED
    assert states[key("a")] in {ActionState.DONE, ActionState.CANCELLED}
    assert states[key("b")] is ActionState.CANCELLED
    sequences = [event.sequence for event in first.reader.events(new.id, after=0)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_results_that_arrive_at_once_free_what_waits_for_both(pair: Pair) -> None:
    first, second = pair
    actions = (make_action("a"), make_action("b"), make_action("c", "a", "b"))
    first.audits.create(make_audit(*actions), gone=())
    mine, other = first.claim(), second.claim()
    assert mine is not None
    assert other is not None

    at_once(
        lambda: first.leases.complete([completion(mine.actions[0])]) and None,
        lambda: second.leases.complete([completion(other.actions[0])]) and None,
    )

    assert names(first.claim()) == {key("c")}
