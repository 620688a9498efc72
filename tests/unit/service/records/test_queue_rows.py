"""How much waits, as the database counts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.records.jobs import NewAudit, QueueRow, Retry
from tests.support.fake_clock import FakeClock
from tests.support.job_records import Records, completion, make_action, make_audit


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records(tmp_path / "records.sqlite", FakeClock())
    yield opened
    opened.database.close()


def add(records: Records, new: NewAudit) -> str:
    records.audits.create(new, gone=())
    return new.id


def row(records: Records) -> QueueRow:
    """Return the only row there is."""
    (only,) = records.upkeep.queue()
    return only


def test_actions_are_counted_by_where_they_stand(records: Records) -> None:
    first = [make_action(name, group="g") for name in "abc"]
    add(records, make_audit(*first, make_action("d", *"abc", group="g")))
    records.claim(max_lanes=1)
    records.clock.advance(7)

    counted = row(records)

    assert (counted.ready, counted.blocked, counted.leased) == (2, 1, 1)
    assert counted.oldest_seconds == 7.0


def test_rows_are_of_one_tenant_and_group_key_each(records: Records) -> None:
    add(records, make_audit(make_action("a"), make_action("b", kind="sweep")))
    add(records, make_audit(make_action("a"), tenant="team-b"))

    rows = records.upkeep.queue()

    assert [(r.tenant, r.kind, r.ready) for r in rows] == [
        ("default", "advance", 1),
        ("default", "sweep", 1),
        ("team-b", "advance", 1),
    ]


def test_an_action_that_several_want_counts_once_for_the_most_urgent(records: Records) -> None:
    add(records, make_audit(make_action("a"), priority=0, deadline=3e9))
    add(records, make_audit(make_action("a"), priority=2, deadline=4e9))

    counted = row(records)

    assert (counted.priority, counted.deadline, counted.ready) == (2, 3e9, 1)


def test_an_action_is_as_urgent_as_whoever_still_wants_it(records: Records) -> None:
    add(records, make_audit(make_action("a"), priority=0, deadline=4e9))
    urgent = add(records, make_audit(make_action("a"), priority=2, deadline=3e9))

    records.audits.end(urgent, failure=None)

    counted = row(records)
    assert (counted.priority, counted.deadline, counted.ready) == (0, 4e9, 1)


def test_an_attempt_that_is_delayed_is_not_ready(records: Records) -> None:
    add(records, make_audit(make_action("a")))
    group = records.claim()
    assert group is not None
    records.leases.put_back({group.actions[0].lease: Retry(delay_seconds=30)})

    delayed = row(records)
    records.clock.advance(31)
    again = row(records)

    assert (delayed.ready, delayed.blocked, delayed.oldest_seconds) == (0, 1, 0.0)
    assert (again.ready, again.blocked, again.oldest_seconds) == (1, 0, 1.0)


def test_what_is_done_or_nobody_wants_is_not_counted(records: Records) -> None:
    add(records, make_audit(make_action("a")))
    group = records.claim()
    assert group is not None
    records.leases.complete([completion(group.actions[0])])
    unwanted = add(records, make_audit(make_action("b")))
    records.audits.end(unwanted, failure=None)

    assert records.upkeep.queue() == ()
