"""What tenants are charged for the groups that workers ran for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.executors.base import GroupDone, GroupStarted
from service.scheduler.loop import Revoked
from tests.support.job_records import make_action
from tests.support.scheduler_rig import WORKER, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def test_a_group_is_charged_what_groups_of_its_size_take(rig: Rig) -> None:
    rig.audit(*(make_action(name, group="g") for name in "abcd"), tenant="first")
    rig.turn(rig.answer(seconds=6.0))
    begin = rig.shares.start_of("a")

    rig.audit(make_action("e"), tenant="a")

    assert rig.shares.start_of("a") - begin == pytest.approx(3.0)  # and not a quarter of 6 s


def test_a_tenant_that_cancels_pays_for_what_was_computed(rig: Rig) -> None:
    audit = rig.audit(make_action("a"), tenant="a")
    rig.audit(make_action("b"), tenant="b")
    _, group_id, _ = rig.executor.submitted[0]
    rig.turn(GroupStarted(worker=WORKER, group=group_id))
    rig.scheduler.report(Revoked(leases=rig.records.audits.end(audit, failure=None).revoked))
    rig.turn()

    rig.turn(GroupDone(worker=WORKER, group=group_id, results=(), compute_seconds=90.0))

    assert len(rig.executor.cancelled) == 1
    assert rig.shares.start_of("a") == 90.0
    seconds = rig.metrics.registry.get_sample_value(
        "stageaudit_tenant_device_seconds_total", {"tenant": "a"}
    )
    assert seconds == 90.0
