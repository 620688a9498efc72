"""A group that has not begun is taken back for something more urgent: SQLite and PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.records.jobs import Retry
from service.records.leasing import WaitingGroup
from tests.support.fake_clock import FakeClock
from tests.support.job_records import Records, key, make_action, make_audit

LITTLE = "little"


@pytest.fixture
def records(records_at: Path | str) -> Iterator[Records]:
    opened = Records(records_at, FakeClock())
    yield opened
    opened.database.close()


def hold(records: Records) -> WaitingGroup:
    """Lease a group of somebody who was served before."""
    records.audits.create(make_audit(make_action("held")), gone=())
    group = records.claim()
    assert group is not None
    return WaitingGroup(
        leases=tuple(action.lease for action in group.actions),
        start_of=lambda tenant: 0.0 if tenant == LITTLE else 1.0,
    )


@pytest.mark.parametrize(
    ("tenant", "priority", "overtaken"),
    [("default", 1, False), ("default", 2, True), ("other", 0, False), (LITTLE, 0, True)],
)
def test_a_group_gives_way_to_a_smaller_start_tag_or_a_higher_priority(
    records: Records, tenant: str, priority: int, overtaken: bool
) -> None:
    held = hold(records)
    nothing = records.leases.overtaken([held])
    records.audits.create(make_audit(make_action("new"), tenant=tenant, priority=priority), gone=())
    written = len(records.writes)

    found = records.leases.overtaken([held]), records.leases.recall(held)

    assert nothing is False
    assert found == (overtaken, overtaken)
    assert records.writes[written:] == ["recall"]


def test_a_group_that_is_taken_back_is_ready_with_the_attempt_that_it_had(records: Records) -> None:
    held = hold(records)
    records.audits.create(make_audit(make_action("new"), priority=2), gone=())

    records.leases.recall(held)

    assert records.leases.extend(held.leases, lease_seconds=30) == held.leases
    again = [records.claim(), records.claim()]
    found = [(a.key, a.attempt) for group in again if group for a in group.actions]
    assert found == [(key("new"), 1), (key("held"), 1)]


def test_leases_that_are_void_are_not_taken_back(records: Records) -> None:
    held = hold(records)
    records.leases.put_back({held.leases[0]: Retry()})
    records.audits.create(make_audit(make_action("new"), priority=2), gone=())

    assert not records.leases.overtaken([held])
    assert not records.leases.recall(held)
    assert not records.leases.overtaken([])
