from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.errors import InternalError, UnavailableError
from service.executors.base import (
    GroupAbandoned,
    GroupFailed,
    GroupStarted,
    GroupStepped,
    WorkerBeat,
    WorkerEnded,
    WorkerReady,
)
from service.failures import Failure
from service.notices import Step
from service.records.base import DEFAULT_TENANT
from service.scheduler.leases import Death
from service.scheduler.loop import Joined, Revoked
from service.scheduler.states import AuditState
from tests.support.job_records import key, make_action
from tests.support.scheduler_rig import LEASE_SECONDS, MAX_ATTEMPTS, WORKER, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def failure(code: str = "NUMERICAL_FAILURE") -> Failure:
    return Failure(code=code, where="steps[3]", expected="finite", found="inf", remedy="Lower lr.")


def test_an_audit_goes_from_plan_to_report(rig: Rig) -> None:
    audit = rig.audit(make_action("a"), make_action("report", "a", kind="report"))

    rig.turn(rig.answer(seconds=2.0))
    rig.turn(rig.answer(seconds=0.5))

    row = rig.row(audit)
    assert row.state is AuditState.SUCCEEDED
    assert row.compute_seconds == 2.5
    assert rig.finisher.signed == [audit]


def test_an_audit_whose_results_are_all_there_is_signed_without_a_worker(rig: Rig) -> None:
    rig.audit(make_action("report"))
    rig.turn(rig.answer())

    again = rig.audit(make_action("report"))

    assert rig.row(again).state is AuditState.SUCCEEDED
    assert len(rig.executor.submitted) == 1


def test_a_further_round_is_planned_from_the_results_of_the_first(rig: Rig) -> None:
    first, second = make_action("a"), make_action("b", "a")
    audit = rig.audit(first)
    rig.planner.rounds = {0: (first,), 1: (first, second)}

    rig.turn(rig.answer())

    _, group = rig.running()
    assert [action.key for action in group.actions] == [key("b")]
    assert rig.row(audit).state is AuditState.RUNNING
    rig.turn(rig.answer())
    assert rig.row(audit).state is AuditState.SUCCEEDED


def test_a_report_whose_blob_is_gone_is_computed_again(rig: Rig) -> None:
    audit = rig.audit(make_action("report"))
    answer = rig.answer()
    rig.blobs.stored.clear()

    rig.turn(answer)

    assert rig.row(audit).state is AuditState.RUNNING
    rig.turn(rig.answer())
    assert rig.row(audit).state is AuditState.SUCCEEDED


def test_a_worker_gets_the_next_group_while_one_runs_and_no_third(rig: Rig) -> None:
    rig.audit(make_action("a"), make_action("b"), make_action("c"))

    assert len(rig.executor.submitted) == 2


def test_signing_waits_for_a_store_that_is_not_available(rig: Rig) -> None:
    full = UnavailableError("store", expected="space", found="none", remedy="Free some.")
    rig.finisher.errors.append(full)
    audit = rig.audit(make_action("report"))

    rig.turn(rig.answer())
    waiting = rig.row(audit).state
    rig.clock.advance(1)
    rig.turn()

    assert waiting is AuditState.SIGNING
    assert rig.row(audit).state is AuditState.SUCCEEDED


def test_an_audit_that_cannot_be_signed_fails_with_the_reason(rig: Rig) -> None:
    bug = InternalError("report", expected="x", found="y", remedy="z")
    rig.finisher.errors.append(bug)
    audit = rig.audit(make_action("report"))

    rig.turn(rig.answer())

    row = rig.row(audit)
    assert row.state is AuditState.FAILED
    assert row.error is not None
    assert row.error.where == "report"


def test_a_typed_error_of_a_single_action_fails_its_audit(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    group_id, _ = rig.running()

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure()))

    row = rig.row(audit)
    assert (row.state, row.error) == (AuditState.FAILED, failure())


def test_a_failing_lane_is_found_by_halving_and_the_others_finish(rig: Rig) -> None:
    names = ("a", "b", "c", "bad")
    lanes = tuple(make_action(name, "first", group="g") for name in names)
    audit = rig.audit(make_action("first"), *lanes)
    rig.turn(rig.answer())
    sizes = [len(rig.running()[1].actions)]

    for _ in range(3):
        rig.answer_all(failing=key("bad"), failure=failure())

    sizes += [len(group.actions) for _, _, group in rig.executor.submitted[2:]]
    states = rig.states(audit)
    assert sizes == [4, 2, 2, 1, 1]
    assert [states[key(name)] for name in names] == ["DONE", "DONE", "DONE", "FAILED"]
    assert rig.row(audit).state is AuditState.FAILED


def test_memory_running_out_is_counted_when_it_halves_a_group(rig: Rig) -> None:
    rig.audit(*(make_action(name, group="g") for name in "ab"))
    group_id, _ = rig.running()

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("RESOURCE_EXHAUSTED")))

    splits = rig.metrics.registry.get_sample_value(
        "stageaudit_oom_splits_total", {"kind": "advance"}
    )
    assert splits == 1


def test_a_store_that_is_not_available_is_tried_again_after_a_delay(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    group_id, _ = rig.running()

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("UNAVAILABLE")))
    before = len(rig.executor.submitted)
    rig.clock.advance(2)
    rig.turn()

    assert (before, len(rig.executor.submitted)) == (1, 2)
    rig.turn(rig.answer())
    assert rig.row(audit).state is AuditState.SUCCEEDED


def test_an_action_is_given_up_after_its_last_attempt(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))

    for _ in range(MAX_ATTEMPTS):
        group_id, _ = rig.running()
        rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("UNAVAILABLE")))
        rig.clock.advance(60)
        rig.turn()

    assert rig.row(audit).state is AuditState.FAILED
    assert len(rig.executor.submitted) == MAX_ATTEMPTS


def test_a_killed_worker_gives_attempts_back_and_its_work_to_the_next(rig: Rig) -> None:
    audit = rig.audit(make_action("a"), make_action("b"))
    rig.turn(GroupStarted(worker=WORKER, group=rig.executor.submitted[0][1]))

    rig.turn(
        WorkerEnded(worker=WORKER, device="cpu", death=Death.KILLED),
        WorkerReady(worker="cpu#0.2", device="cpu"),
    )

    again = rig.executor.submitted[2:]
    assert [worker for worker, _, _ in again] == ["cpu#0.2", "cpu#0.2"]
    assert {action.attempt for _, _, group in again for action in group.actions} == {1}
    assert rig.row(audit).state is AuditState.RUNNING


def test_an_action_that_crashes_two_workers_is_poison(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))

    for birth in (2, 3):
        worker, group_id, _ = rig.executor.submitted[-1]
        rig.turn(
            GroupStarted(worker=worker, group=group_id),
            WorkerEnded(worker=worker, device="cpu", death=Death.FAULT),
            WorkerReady(worker=f"cpu#0.{birth}", device="cpu"),
        )
        rig.clock.advance(60)
        rig.turn()

    row = rig.row(audit)
    assert row.state is AuditState.FAILED
    assert row.error is not None
    assert row.error.code == "POISON"


def test_an_answer_of_a_worker_that_was_given_up_changes_nothing(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    late = rig.answer()
    rig.turn(WorkerEnded(worker=WORKER, device="cpu", death=Death.KILLED))

    rig.turn(late)

    assert rig.states(audit)[key("a")] == "READY"


def test_heartbeats_keep_leases_and_silence_ends_the_worker(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    rig.clock.advance(LEASE_SECONDS - 1)
    rig.turn(WorkerBeat(worker=WORKER))
    rig.clock.advance(LEASE_SECONDS - 1)
    rig.turn()
    alive = list(rig.executor.ended)

    rig.clock.advance(2)
    rig.turn()

    assert alive == []
    assert rig.executor.ended == [WORKER]
    assert rig.states(audit)[key("a")] == "READY"


def test_a_revoked_lease_is_told_to_its_worker(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    group_id, _ = rig.running()
    ended = rig.records.audits.end(audit, failure=None)

    rig.scheduler.report(Revoked(leases=ended.revoked))
    rig.turn()

    assert rig.executor.cancelled == [(WORKER, group_id, (key("a"),))]


def test_an_overdue_audit_fails_and_its_work_is_cancelled(rig: Rig) -> None:
    audit = rig.audit(make_action("a"), deadline=rig.clock.seconds() + 20)

    rig.clock.advance(21)
    rig.turn()

    row = rig.row(audit)
    assert row.state is AuditState.FAILED
    assert row.error is not None
    assert row.error.code == "AUDIT_DEADLINE_EXCEEDED"
    assert [keys for _, _, keys in rig.executor.cancelled] == [(key("a"),)]


def test_a_result_that_is_gone_is_computed_again_for_its_reader(rig: Rig) -> None:
    audit = rig.audit(make_action("a"), make_action("b", "a"))
    rig.turn(rig.answer())
    group_id, _ = rig.running()
    rig.blobs.stored.clear()

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("ARTIFACT_MISSING")))

    _, group = rig.running()
    assert [action.key for action in group.actions] == [key("a")]
    rig.turn(rig.answer())
    rig.turn(rig.answer())
    assert rig.row(audit).state is AuditState.SUCCEEDED


def test_a_corrupt_result_is_computed_again_for_its_reader(rig: Rig) -> None:
    rig.audit(make_action("a"), make_action("b", "a"))
    rig.turn(rig.answer())
    group_id, group = rig.running()
    rig.blobs.stored[group.results[key("a")]] = b"damaged"

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("ARTIFACT_CORRUPT")))

    _, group = rig.running()
    assert [action.key for action in group.actions] == [key("a")]


def test_a_missing_input_of_the_request_itself_fails_the_audit(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    group_id, _ = rig.running()

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("ARTIFACT_MISSING")))

    assert rig.row(audit).state is AuditState.FAILED


def test_drain_hands_out_nothing_and_puts_back_without_spending(rig: Rig) -> None:
    audit = rig.audit(make_action("a"), make_action("b"), make_action("c"))
    groups = [group_id for _, group_id, _ in rig.executor.submitted]

    rig.scheduler.drain()
    rig.turn(*(GroupAbandoned(worker=WORKER, group=group_id) for group_id in groups))

    assert rig.executor.draining
    assert len(rig.executor.submitted) == 2
    assert set(rig.states(audit).values()) == {"READY"}
    assert rig.scheduler.wait_idle(timeout_seconds=0)


def test_steps_reach_audits_that_joined_later(rig: Rig) -> None:
    rig.audit(make_action("a"))
    group_id, _ = rig.running()
    news: list[str] = []
    with rig.notices.listen("second", lambda: news.append("news")):
        rig.scheduler.report(Joined(audit="second", keys=frozenset({key("a")})))
        rig.turn(GroupStepped(worker=WORKER, group=group_id, done=3, total=9))

    assert rig.notices.step("second") == Step(kind="advance", lanes=1, done=3, total=9)
    assert news == ["news"]


def test_recovery_puts_back_what_an_earlier_server_held(rig: Rig) -> None:
    audit = rig.audit(make_action("a"))
    rig.turn(WorkerEnded(worker=WORKER, device="cpu", death=Death.KILLED))
    rig.records.claim()

    rig.scheduler.recover()

    assert rig.states(audit)[key("a")] == "READY"


def test_an_error_in_one_event_does_not_stop_the_loop(rig: Rig) -> None:
    audit = rig.audit(make_action("report"))
    rig.planner.rounds = {}  # planning raises: nothing is laid out
    rig.turn(rig.answer())

    row = rig.row(audit)
    assert row.state is AuditState.FAILED
    assert row.error is not None
    assert row.error.code == "INTERNAL"
    assert rig.row(rig.audit(make_action("next"))).state is AuditState.RUNNING


def test_what_happened_is_measured(rig: Rig) -> None:
    rig.audit(make_action("report", kind="report"))
    rig.turn(GroupStarted(worker=WORKER, group=rig.running()[0]))
    rig.turn(rig.answer(seconds=2.0))

    value = rig.metrics.registry.get_sample_value
    assert value("stageaudit_actions_finished_total", {"kind": "report", "outcome": "done"}) == 1
    assert value("stageaudit_device_busy_seconds_total", {"device": "cpu"}) == 2.0
    assert value("stageaudit_signatures_total", {"result": "signed"}) == 1
    finished = {"tenant": DEFAULT_TENANT, "outcome": "succeeded"}
    assert value("stageaudit_audits_finished_total", finished) == 1
