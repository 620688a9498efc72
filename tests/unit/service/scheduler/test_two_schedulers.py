"""Two schedulers on one database, each with a worker of its own: every audit ends once."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import final

import pytest
from sqlalchemy import func, select

from auditor.errors import UnavailableError
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest, sha256
from service.planning import PlannedRound
from service.records.front_end import FrontEnd
from service.records.jobs import NewAction, NewAudit
from service.records.tables import audit as audit_table
from service.scheduler.loop import Wake
from service.scheduler.states import LIVE_AUDITS, AuditState
from tests.support.fake_clock import FakeClock
from tests.support.job_records import TENANT, make_action, make_audit
from tests.support.postgres import PostgresServer
from tests.support.scheduler_rig import LEASE_SECONDS, Rig

AUDITS = 50
TURNS = 3000

Rigs = tuple[Rig, Rig]


@final
class TwoRounds:
    """Plans audits by their requests: some actions, then those that read them and a report."""

    def __init__(self) -> None:
        self._rounds: dict[str, tuple[tuple[NewAction, ...], tuple[NewAction, ...]]] = {}

    def audit(self, name: str, *, shared: str) -> NewAudit:
        """Return an audit of three actions in two rounds, of which others share the first."""
        first = (make_action(shared, group="shared"), make_action(f"own {name}", group="own"))
        last = (make_action(f"report {name}", shared, f"own {name}", group="report"),)
        request = sha256(name.encode())
        self._rounds[request] = (first, last)
        return replace(make_audit(*first), request_digest=request)

    def plan_stored(self, request: Digest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        first, last = self._rounds[request]
        known = all(action.key in results for action in first)
        actions = (*first, *last) if known else first
        return PlannedRound(actions=actions, report=actions[-1].key if known else ActionKey(""))

    def missing(self, results: Iterable[Digest]) -> frozenset[Digest]:
        return frozenset()


@pytest.fixture
def planner() -> TwoRounds:
    return TwoRounds()


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.clean()


@pytest.fixture
def rigs(url: str, planner: TwoRounds) -> Iterator[Rigs]:
    clock = FakeClock()
    pair = (
        Rig(url, front_end=FrontEnd(id="A"), clock=clock, planner=planner),
        Rig(url, front_end=FrontEnd(id="B"), clock=clock, planner=planner),
    )
    yield pair
    for rig in pair:
        rig.close()


def kinds(rig: Rig, audit: str) -> list[str]:
    return [event.kind for event in rig.records.reader.events(audit, after=0)]


def live(rig: Rig) -> int:
    query = select(func.count()).where(audit_table.c.state.in_(LIVE_AUDITS))
    return rig.records.database.read(lambda connection: connection.execute(query).scalar_one())


def test_fifty_audits_end_once_with_one_report_each(rigs: Rigs, planner: TwoRounds) -> None:
    audits = [
        planner.audit(f"{number:02d}", shared=f"shared {number % 7}") for number in range(AUDITS)
    ]
    ids = [audit.id for audit in audits]
    both_begin = threading.Barrier(2)
    failures: list[BaseException] = []

    def run(rig: Rig, own: list[NewAudit]) -> None:
        try:
            both_begin.wait()
            for audit in own:
                rig.records.audits.create(audit, gone=())
            both_begin.wait()
            for _ in range(TURNS):
                rig.turn()
                rig.answer_waiting()
                if not live(rig):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(rig, audits[number::2]))
        for number, rig in enumerate(rigs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What one had reserved when the other looked is found by its upkeep.
    for rig in rigs * 2:
        rig.clock.advance(1)
        rig.turn()

    assert failures == []
    assert {rigs[0].row(audit).state for audit in ids} == {AuditState.SUCCEEDED}
    signed = rigs[0].finisher.signed + rigs[1].finisher.signed
    reports = rigs[0].records.catalogue.reports(TENANT, log=None, after=None, limit=AUDITS)
    assert sorted(signed) == sorted(ids)
    assert sorted(report.audit for report in reports) == sorted(ids)
    for audit in ids:
        told = kinds(rigs[0], audit)
        assert [told.count(kind) for kind in ("planned", "signing", "succeeded")] == [2, 1, 1]
    leased = [
        action.key
        for rig in rigs
        for _, _, group in rig.executor.submitted
        for action in group.actions
    ]
    assert len(leased) == len(set(leased)) == 2 * AUDITS + 7
    assert all(rig.executor.submitted for rig in rigs)


def test_an_audit_of_a_front_end_that_is_gone_is_finished_by_the_other(
    rigs: Rigs, planner: TwoRounds
) -> None:
    gone, other = rigs
    audit = planner.audit("a", shared="s")
    gone.records.audits.create(audit, gone=())
    gone.turn()  # leases both groups, and is never heard of again
    assert len(gone.executor.submitted) == 2
    other.turn()
    assert other.executor.submitted == []

    other.clock.advance(LEASE_SECONDS + 3)
    for _ in range(3):
        other.turn()
        other.answer_waiting()

    assert other.row(audit.id).state is AuditState.SUCCEEDED
    actions = other.executor.submitted[0][2].actions
    assert [(action.attempt, action.returned) for action in actions] == [(1, 1)]


def test_an_audit_that_one_carries_on_is_left_to_it_until_its_time_is_over(
    rigs: Rigs, planner: TwoRounds
) -> None:
    busy, other = rigs
    audit = planner.audit("a", shared="s")
    busy.records.audits.create(audit, gone=())
    assert busy.records.audits.take(audit.id, seconds=LEASE_SECONDS)
    other.turn()
    other.answer_waiting()  # of its first round; the other front end is busy with it

    for _ in range(3):
        other.scheduler.report(Wake(settled=(audit.id,)))
        other.clock.advance(1)
        other.turn()
    early = kinds(other, audit.id)
    other.clock.advance(LEASE_SECONDS)
    for _ in range(3):
        other.clock.advance(1)
        other.turn()
        other.answer_waiting()

    assert early.count("planned") == 1
    assert other.row(audit.id).state is AuditState.SUCCEEDED


def test_a_deadline_is_told_by_one(rigs: Rigs, planner: TwoRounds) -> None:
    audit = replace(planner.audit("a", shared="s"), deadline=rigs[0].clock.seconds() + 10)
    rigs[0].records.audits.create(audit, gone=())

    rigs[0].clock.advance(11)
    for rig in rigs:
        rig.turn()

    ended = "stageaudit_audits_finished_total"
    labels = {"tenant": TENANT, "outcome": "failed"}
    values = [rig.metrics.registry.get_sample_value(ended, labels) for rig in rigs]
    assert sorted(value or 0 for value in values) == [0, 1]
    assert kinds(rigs[0], audit.id) == ["planned", "failed"]


def test_results_and_heartbeats_wait_while_the_database_is_away(
    rigs: Rigs, planner: TwoRounds, postgres: PostgresServer, url: str
) -> None:
    rig, other = rigs
    audit = planner.audit("a", shared="s")
    rig.records.audits.create(audit, gone=())
    rig.turn()

    postgres.take_away(url)
    rig.answer_waiting()
    for _ in range(LEASE_SECONDS + 5):
        rig.clock.advance(1)
        rig.turn()
        other.turn()
    with pytest.raises(UnavailableError):
        rig.row(audit.id)
    postgres.bring_back(url)
    for each in (other, rig) * 8:
        rig.clock.advance(1)
        each.turn()
        rig.answer_waiting()

    assert rig.row(audit.id).state is AuditState.SUCCEEDED
    assert other.executor.submitted == []
    assert rig.executor.ended == []
    assert len(rig.executor.submitted) == 3  # nothing was computed twice
