"""What every implementation of the job records does: SQLite and PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.errors import ArtifactMissingError, InternalError, PreconditionError, ResourceError
from auditor.stagelog.digest import sha256
from service.errors import RequestIdReusedError
from service.failures import Failure
from service.records.base import ModelRow, Position, RequestKey, StageLogRow
from service.records.jobs import GiveUp, LeasedGroup, Retry, SignedReport
from service.scheduler.batch_delay import When
from service.scheduler.states import ActionState, AuditState
from tests.support.fake_clock import FakeClock
from tests.support.job_records import (
    MAX_DELAY_SECONDS,
    TENANT,
    Records,
    completion,
    key,
    make_action,
    make_audit,
    result,
)

FAILURE = Failure(code="NUMERICAL_FAILURE", where="steps[3]", expected="x", found="y", remedy="z")


@pytest.fixture
def records(records_at: Path | str) -> Iterator[Records]:
    opened = Records(records_at, FakeClock())
    yield opened
    opened.database.close()


def _names(group: LeasedGroup | None, *names: str) -> set[str]:
    """Return which of the named actions the group holds."""
    held = {action.key for action in group.actions} if group else set()
    return {name for name in names if key(name) in held}


def _states(records: Records, audit: str) -> dict[str, ActionState]:
    return {row.key: row.state for row in records.reader.actions(audit)}


def test_create_makes_independent_actions_ready_and_dependants_wait(records: Records) -> None:
    new = make_audit(make_action("a"), make_action("b", "a"))

    row, plan = records.audits.create(new, gone=())

    assert row.state is AuditState.PLANNED
    assert plan.new == (key("a"), key("b"))
    assert _states(records, new.id) == {
        key("a"): ActionState.READY,
        key("b"): ActionState.BLOCKED,
    }


def test_create_with_the_same_request_id_returns_the_first_audit(records: Records) -> None:
    request = RequestKey(id="r", digest=sha256(b"1"))
    first, _ = records.audits.create(make_audit(make_action("a"), request=request), gone=())

    second, _ = records.audits.create(make_audit(make_action("a"), request=request), gone=())

    assert second.id == first.id
    assert len(records.reader.page(TENANT, limit=10, before=None, log=None)) == 1


def test_create_refuses_a_request_id_of_another_request(records: Records) -> None:
    request = RequestKey(id="r", digest=sha256(b"1"))
    records.audits.create(make_audit(make_action("a"), request=request), gone=())
    other = RequestKey(id="r", digest=sha256(b"2"))

    with pytest.raises(RequestIdReusedError):
        records.audits.create(make_audit(make_action("a"), request=other), gone=())


def test_a_request_id_is_forgotten_after_a_day(records: Records) -> None:
    request = RequestKey(id="r", digest=sha256(b"1"))
    first, _ = records.audits.create(make_audit(make_action("a"), request=request), gone=())
    records.clock.advance(24 * 3600 + 1)

    second, _ = records.audits.create(make_audit(make_action("a"), request=request), gone=())

    assert second.id != first.id


def test_create_refuses_too_many_live_audits_and_stores_nothing(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    new = make_audit(make_action("b"), max_live_audits=1)

    with pytest.raises(ResourceError) as caught:
        records.audits.create(new, gone=())

    assert caught.value.retry_after_seconds is not None
    with pytest.raises(ArtifactMissingError):
        records.reader.get(TENANT, new.id)
    assert records.reader.known_results(TENANT, [key("b")]) == {}


def test_create_refuses_an_action_that_reads_what_nobody_planned(records: Records) -> None:
    with pytest.raises(InternalError):
        records.audits.create(make_audit(make_action("b", "never planned")), gone=())


def test_claim_leases_all_ready_actions_of_a_group_with_new_fences(records: Records) -> None:
    group = "g"
    actions = [make_action(name, group=group) for name in "abc"]
    records.audits.create(make_audit(*actions, make_action("other")), gone=())

    claimed = records.claim()

    assert _names(claimed, "a", "b", "c", "other") == {"a", "b", "c"}
    assert claimed is not None
    assert {(a.lease.fence, a.attempt) for a in claimed.actions} == {(1, 1)}


def test_claim_takes_at_most_max_lanes(records: Records) -> None:
    actions = [make_action(name, group="g") for name in "abc"]
    records.audits.create(make_audit(*actions), gone=())

    assert _names(records.claim(max_lanes=2), "a", "b", "c") == {"a", "b"}
    assert _names(records.claim(max_lanes=2), "a", "b", "c") == {"c"}
    assert records.claim() is None


def test_claim_serves_the_higher_priority_first(records: Records) -> None:
    records.audits.create(make_audit(make_action("normal"), priority=1), gone=())
    records.audits.create(make_audit(make_action("gate"), priority=2), gone=())

    assert _names(records.claim(), "normal", "gate") == {"gate"}


def test_waiting_raises_the_priority_so_that_nothing_starves(records: Records) -> None:
    records.audits.create(make_audit(make_action("old"), priority=0), gone=())
    records.clock.advance(2 * 600)
    records.audits.create(make_audit(make_action("new"), priority=1), gone=())

    assert _names(records.claim(), "old", "new") == {"old"}


def test_what_most_waits_for_is_claimed_first(records: Records) -> None:
    actions = (make_action("leaf"), make_action("root"), make_action("next", "root"))
    records.audits.create(make_audit(*actions), gone=())

    assert _names(records.claim(), "leaf", "root") == {"root"}


def test_a_claim_ahead_leaves_groups_that_will_grow(records: Records) -> None:
    actions = (
        make_action("first"),
        make_action("early", group="g"),
        make_action("late", "first", group="g"),
    )
    records.audits.create(make_audit(*actions), gone=())
    first = records.claim()
    assert first is not None

    assert records.claim(when=When.AHEAD) is None
    records.leases.complete([completion(first.actions[0])])
    records.clock.advance(MAX_DELAY_SECONDS)

    assert _names(records.claim(when=When.AHEAD), "early", "late") == {"early", "late"}


def test_complete_frees_dependants_and_hands_them_the_results(records: Records) -> None:
    records.audits.create(make_audit(make_action("a"), make_action("b", "a")), gone=())
    first = records.claim()
    assert first is not None

    changed = records.leases.complete([completion(first.actions[0], "a")])
    second = records.claim()

    assert changed.settled == ()
    assert second is not None
    assert _names(second, "a", "b") == {"b"}
    assert second.results == {key("a"): result("a")}


def test_complete_of_the_last_action_settles_the_audit(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    group = records.claim()
    assert group is not None

    changed = records.leases.complete([completion(group.actions[0])])

    assert changed.settled == (new.id,)
    assert records.upkeep.settled() == (new.id,)


def test_complete_with_an_old_fence_changes_nothing(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    stale = records.claim()
    assert stale is not None
    records.upkeep.recover()
    records.claim()

    changed = records.leases.complete([completion(stale.actions[0])])

    assert changed.lost == (stale.actions[0].lease,)
    assert _states(records, new.id)[key("a")] is ActionState.LEASED


def test_results_are_cached_across_audits(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0], "a")])
    second = make_audit(make_action("a"))

    row, plan = records.audits.create(second, gone=())

    assert plan.cached == (key("a"),)
    assert plan.settled
    assert (row.progress.actions, row.progress.cached, row.progress.done) == (1, 1, 1)


def test_an_action_under_way_is_joined(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    group = records.claim()
    assert group is not None
    second = make_audit(make_action("a"))

    _, plan = records.audits.create(second, gone=())
    changed = records.leases.complete([completion(group.actions[0])])

    assert plan.joined == (key("a"),)
    assert second.id in changed.settled


def test_results_of_another_tenant_are_not_used(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0])])

    _, plan = records.audits.create(make_audit(make_action("a"), tenant="other"), gone=())

    assert plan.new == (key("a"),)


def test_a_result_that_is_gone_is_computed_again_before_what_reads_it(records: Records) -> None:
    actions = (make_action("a"), make_action("b", "a"))
    records.audits.create(make_audit(*actions), gone=())
    for name in "ab":
        group = records.claim()
        assert group is not None
        records.leases.complete([completion(group.actions[0], name)])
    second = make_audit(*actions)

    _, plan = records.audits.create(second, gone={result("a"), result("b")})

    assert set(plan.new) == {key("a"), key("b")}
    assert _states(records, second.id) == {
        key("a"): ActionState.READY,
        key("b"): ActionState.BLOCKED,
    }


def test_ready_dependants_wait_again_when_a_result_is_gone(records: Records) -> None:
    records.audits.create(make_audit(make_action("a"), make_action("b", "a")), gone=())
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0], "a")])

    records.audits.create(make_audit(make_action("a")), gone={result("a")})

    assert _names(records.claim(), "a", "b") == {"a"}
    assert records.claim() is None


def test_reopen_puts_the_reader_behind_the_lost_result(records: Records) -> None:
    new = make_audit(make_action("a"), make_action("b", "a"))
    records.audits.create(new, gone=())
    first = records.claim()
    assert first is not None
    records.leases.complete([completion(first.actions[0], "a")])
    second = records.claim()
    assert second is not None

    records.leases.reopen([key("a")], [second.actions[0].lease])

    assert _states(records, new.id) == {
        key("a"): ActionState.READY,
        key("b"): ActionState.BLOCKED,
    }


def test_put_back_gives_the_attempt_back_or_spends_it(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    for retry, attempt in ((Retry(give_back=True), 1), (Retry(), 1), (Retry(), 2)):
        group = records.claim()
        assert group is not None
        assert group.actions[0].attempt == attempt
        records.leases.put_back({group.actions[0].lease: retry})
    group = records.claim()
    assert group is not None
    assert (group.actions[0].attempt, group.actions[0].returned) == (3, 1)


def test_a_retry_waits_for_its_delay(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    group = records.claim()
    assert group is not None
    records.leases.put_back({group.actions[0].lease: Retry(delay_seconds=5)})

    assert records.claim() is None
    assert records.upkeep.next_retry() == records.clock.seconds() + 5
    records.clock.advance(5)
    assert records.claim() is not None


def test_halving_limits_the_groups_an_action_runs_in(records: Records) -> None:
    actions = [make_action(name, group="g") for name in "abcd"]
    records.audits.create(make_audit(*actions), gone=())
    group = records.claim()
    assert group is not None
    retry = Retry(give_back=True, max_lanes=2)

    records.leases.put_back({action.lease: retry for action in group.actions})

    assert _names(records.claim(), *"abcd") == {"a", "b"}
    assert _names(records.claim(), *"abcd") == {"c", "d"}


def test_giving_up_fails_every_audit_that_wants_it_and_spares_shared_work(
    records: Records,
) -> None:
    shared = make_action("shared")
    doomed = make_audit(make_action("a"), shared, make_action("c", "a"))
    other = make_audit(shared)
    records.audits.create(doomed, gone=())
    records.audits.create(other, gone=())
    group = records.claim()
    assert _names(group, "a") == {"a"}
    assert group is not None

    changed = records.leases.put_back({group.actions[0].lease: GiveUp(failure=FAILURE)})

    assert changed.ended.audits == (doomed.id,)
    row = records.reader.get(TENANT, doomed.id)
    assert (row.state, row.error) == (AuditState.FAILED, FAILURE)
    assert _states(records, doomed.id) == {
        key("a"): ActionState.FAILED,
        key("shared"): ActionState.READY,
        key("c"): ActionState.CANCELLED,
    }


def test_a_failed_action_is_tried_again_when_a_new_audit_wants_it(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    group = records.claim()
    assert group is not None
    records.leases.put_back({group.actions[0].lease: GiveUp(failure=FAILURE)})

    records.audits.create(make_audit(make_action("a")), gone=())
    again = records.claim()

    assert again is not None
    assert (again.actions[0].attempt, again.actions[0].lease.fence) == (1, 2)


def test_cancel_revokes_leases_nobody_else_wants(records: Records) -> None:
    first = make_audit(make_action("a"), make_action("b"))
    second = make_audit(make_action("b"))
    records.audits.create(first, gone=())
    records.audits.create(second, gone=())
    a, b = records.claim(), records.claim()
    assert a is not None
    assert b is not None

    cancelled = records.audits.end(first.id, failure=None)

    assert cancelled.audits == (first.id,)
    assert cancelled.revoked == (a.actions[0].lease,)
    assert records.leases.extend([a.actions[0].lease, b.actions[0].lease], lease_seconds=30) == (
        a.actions[0].lease,
    )


def test_cancel_twice_changes_nothing(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    records.audits.end(new.id, failure=None)

    assert records.audits.end(new.id, failure=None).audits == ()
    assert records.reader.get(TENANT, new.id).state is AuditState.CANCELLED


def _signed(name: str) -> SignedReport:
    return SignedReport(
        digest=sha256(name.encode()),
        bundle=sha256(f"bundle {name}".encode()),
        bundle_size_bytes=5,
        keyid="0" * 64,
    )


def test_finish_stores_exactly_one_report(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    assert records.audits.begin_signing(new.id)
    assert records.audits.begin_signing(new.id)  # again, after a crash

    assert records.audits.finish(new.id, _signed("1"))
    assert not records.audits.finish(new.id, _signed("2"))

    (row,) = records.catalogue.reports(TENANT, log=None, after=None, limit=10)
    assert (row.digest, row.audit) == (sha256(b"1"), new.id)
    assert records.reader.get(TENANT, new.id).report_digest == sha256(b"1")
    assert records.catalogue.held_blobs(TENANT, [row.bundle_digest]) == {row.bundle_digest: 5}


def test_cancelled_wins_over_a_report_that_is_not_committed(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    records.audits.begin_signing(new.id)
    records.audits.end(new.id, failure=None)

    assert not records.audits.finish(new.id, _signed("1"))
    assert records.catalogue.reports(TENANT, log=None, after=None, limit=10) == ()


def test_recover_puts_leases_back_and_gives_attempts_back_ten_times(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    attempts = []
    for _ in range(12):
        group = records.claim()
        assert group is not None
        attempts.append(group.actions[0].attempt)
        assert records.upkeep.recover() == 1

    assert attempts == [1] * 11 + [2]


def test_expired_leases_and_overdue_audits_are_found(records: Records) -> None:
    new = make_audit(make_action("a"), deadline=records.clock.seconds() + 60)
    records.audits.create(new, gone=())
    group = records.claim()
    assert group is not None
    assert records.upkeep.expire() == {}
    assert records.upkeep.overdue() == ()

    records.clock.advance(61)

    assert set(records.upkeep.expire()) == {group.actions[0].lease}
    assert records.upkeep.overdue() == (new.id,)


def test_events_tell_the_audit_from_plan_to_report(records: Records) -> None:
    new = make_audit(make_action("a"), make_action("b", "a"))
    records.audits.create(new, gone=())
    for _ in range(2):
        group = records.claim()
        assert group is not None
        records.leases.complete([completion(group.actions[0])])
    records.audits.begin_signing(new.id)
    records.audits.finish(new.id, _signed("1"))

    events = records.reader.events(new.id, after=0)

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events] == [
        "planned", "running", "action_done", "action_done", "signing", "succeeded",
    ]  # fmt: skip
    assert [event.progress.done for event in events] == [0, 0, 1, 2, 2, 2]
    assert [e.sequence for e in records.reader.events(new.id, after=4)] == [5, 6]


def test_compute_seconds_leave_out_what_was_cached(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0], compute_seconds=5.0)])
    second = make_audit(make_action("a"), make_action("b"))
    records.audits.create(second, gone=())
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0], compute_seconds=2.0)])

    assert records.reader.get(TENANT, second.id).compute_seconds == 2.0


def test_append_adds_a_round_and_only_what_is_new(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0])])

    plan = records.audits.append(
        new.id, [make_action("a"), make_action("b", "a")], gone=(), after_round=1
    )

    assert (plan.new, plan.cached, plan.settled) == ((key("b"),), (key("a"),), False)
    assert records.reader.get(TENANT, new.id).round == 2
    assert _names(records.claim(), "b") == {"b"}


def test_append_to_an_audit_that_is_over_changes_nothing(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    records.audits.end(new.id, failure=None)

    plan = records.audits.append(new.id, [make_action("b")], gone=(), after_round=1)

    assert plan.new == ()
    assert records.claim() is None


def test_page_lists_newest_first_and_continues(records: Records) -> None:
    ids = []
    for name in "abc":
        new = make_audit(make_action(name))
        records.audits.create(new, gone=())
        ids.append(new.id)

    first = records.reader.page(TENANT, limit=2, before=None, log=None)
    second = records.reader.page(TENANT, limit=2, before=first[-1].id, log=None)

    assert [row.id for row in (*first, *second)] == ids[::-1]
    assert records.reader.page("other", limit=2, before=None, log=None) == ()


def test_delete_hides_a_finished_audit_and_refuses_a_live_one(records: Records) -> None:
    new = make_audit(make_action("a"))
    records.audits.create(new, gone=())
    with pytest.raises(PreconditionError):
        records.audits.delete(TENANT, new.id)
    records.audits.end(new.id, failure=None)

    records.audits.delete(TENANT, new.id)

    with pytest.raises(ArtifactMissingError):
        records.reader.get(TENANT, new.id)


def _log(name: str) -> StageLogRow:
    return StageLogRow(
        digest=sha256(name.encode()),
        run=name,
        stages=("a", "b"),
        steps=7,
        level=2,
        size_bytes=100,
        created=0.0,
    )


def test_stage_logs_are_stored_once_and_listed_newest_first(records: Records) -> None:
    first = records.catalogue.add_stage_log(TENANT, _log("one"), request=None)
    records.clock.advance(1)
    again = records.catalogue.add_stage_log(TENANT, _log("one"), request=None)
    second = records.catalogue.add_stage_log(TENANT, _log("two"), request=None)

    page = records.catalogue.stage_logs(TENANT, after=None, limit=1)
    after = Position(created=page[0].created, digest=page[0].digest)

    assert again == first
    assert page == (second,)
    assert records.catalogue.stage_logs(TENANT, after=after, limit=5) == (first,)
    assert records.catalogue.stage_logs("other", after=None, limit=5) == ()


def test_a_deleted_model_is_gone(records: Records) -> None:
    row = ModelRow(
        digest=sha256(b"m"), format="onnx", tensors=2, elements=9, size_bytes=4, created=0.0
    )
    stored = records.catalogue.add_model(TENANT, row, request=None)
    assert records.catalogue.model(TENANT, row.digest) == stored

    records.catalogue.delete_model(TENANT, row.digest)

    with pytest.raises(ArtifactMissingError):
        records.catalogue.model(TENANT, row.digest)
    with pytest.raises(ArtifactMissingError):
        records.catalogue.delete_model(TENANT, row.digest)


def test_held_blobs_are_those_of_the_tenant(records: Records) -> None:
    digest = sha256(b"x")
    records.catalogue.add_blobs(TENANT, {digest: 1})
    records.catalogue.add_blobs(TENANT, {digest: 1})

    assert records.catalogue.held_blobs(TENANT, [digest, sha256(b"y")]) == {digest: 1}
    assert records.catalogue.held_blobs("other", [digest]) == {}


def test_all_audits_of_a_log_are_told_deleted_ones_too_and_checks_are_not(records: Records) -> None:
    kept, deleted, check = (
        make_audit(make_action(name), kind=kind)
        for name, kind in (("a", "audit"), ("b", "audit"), ("c", "check"))
    )
    for new in (kept, deleted, check):
        records.audits.create(new, gone=())
    for ended in (deleted, check):
        records.audits.end(ended.id, failure=None)
        records.audits.delete(TENANT, ended.id)

    told = records.reader.of_log(TENANT, kept.log_digest)

    assert [(audit.id, audit.state) for audit in told] == [
        (kept.id, AuditState.PLANNED),
        (deleted.id, AuditState.CANCELLED),
    ]
    assert records.reader.of_log("somebody else", kept.log_digest) == ()
