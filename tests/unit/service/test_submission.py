"""What an audit meets on its way in: a full queue, and itself when it is asked for again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from auditor.edge.clock import Clock
from auditor.plan.actions import ActionKey
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import Digest, sha256
from service.admission import Admission
from service.capacity import Capacity
from service.errors import RequestIdReusedError, TenantQueueFullError
from service.metrics import Metrics
from service.planning import AuditPlanner, PlannedRound
from service.queue_limit import PredictedBytes, QueueLimit
from service.records.jobs import NewAction
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.loop import Event
from service.scheduler.memory import MemoryModel
from service.scheduler.overview import Overview
from service.submission import Ask, AuditLimits, Submission
from service.telemetry import Telemetry
from tests.support.fake_clock import FakeClock
from tests.support.job_records import TENANT, Records, completion, key, make_action, result

QUEUE = 1000
LIMIT = QueueLimit(measure=PredictedBytes(), most=QUEUE)
LOG = sha256(b"log")


def request(name: str) -> str:
    """Return a request that plans the actions of this name."""
    return f"""{{
        "schema": "stageaudit.audit.v1", "log": "{LOG}", "interventions": "stages",
        "queries": [{{"name": "{name}", "kind": "loss", "data": "{LOG}", "better": "lower"}}]
    }}"""


@dataclass
class Plans:
    """A planner that plans what a test laid out, by the name of the first query."""

    by_name: dict[str, tuple[NewAction, ...]] = field(default_factory=dict)
    gone: frozenset[Digest] = frozenset()

    def plan(self, asked: AuditRequest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        actions = self.by_name[asked.queries[0].name]
        return PlannedRound(actions=actions, report=actions[-1].key)

    def missing(self, results: Iterable[Digest]) -> frozenset[Digest]:
        return self.gone.intersection(results)


@dataclass
class OpenDoor:
    """An admission that refuses only for want of room."""

    capacity: Capacity

    def check(self, tenant: str, asked: AuditRequest) -> None:
        """Everything is there."""

    def keep(self, tenant: str, asked: AuditRequest) -> Digest:
        return sha256(b"request")


@dataclass
class Entrance:
    """A submission over real records."""

    records: Records
    clock: FakeClock
    plans: Plans = field(default_factory=Plans)
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        planner = cast("AuditPlanner", self.plans)
        overview = Overview(self.clock, max_lanes=8, expected=GroupSeconds())
        self.submission = Submission(
            audits=self.records.audits,
            reader=self.records.reader,
            admission=cast(
                "Admission",
                OpenDoor(
                    Capacity(
                        planner=planner,
                        memory=MemoryModel(),
                        max_lanes=8,
                        limits=(LIMIT,),
                    )
                ),
            ),
            planner=planner,
            report=self.told.append,
            telemetry=Telemetry(Metrics(), max_lanes=8, overview=overview),
            clock=cast("Clock", self.clock),
            limits=AuditLimits(live_audits=64, audit_seconds=60.0, audit_seconds_max=600.0),
        )

    def plan(self, name: str, *, lane_bytes: int) -> None:
        """Let requests of this name need one action of so many bytes."""
        self.plans.by_name[name] = (replace(make_action(name), lane_bytes=lane_bytes),)

    def ask(
        self, name: str, *, request_id: str | None = None, deadline: float | None = None
    ) -> str:
        return self.submission.create(
            Ask(
                tenant=TENANT,
                request_json=request(name),
                priority=1,
                deadline=deadline,
                request_id=request_id,
            )
        ).id


@pytest.fixture
def entrance(tmp_path: Path) -> Iterator[Entrance]:
    clock = FakeClock()
    records = Records(tmp_path / "records.sqlite", clock)
    yield Entrance(records, clock)
    records.database.close()


def test_an_accepted_audit_that_is_asked_for_again_is_the_same_whatever_waits(
    entrance: Entrance,
) -> None:
    entrance.plan("large", lane_bytes=500)
    deadline = entrance.clock.seconds() + 30
    first = entrance.ask("large", request_id="r", deadline=deadline)
    told = len(entrance.told)
    entrance.clock.advance(40)  # it cannot be accepted any more: the deadline is over

    assert entrance.ask("large", request_id="r", deadline=deadline) == first
    assert len(entrance.told) == told
    with pytest.raises(RequestIdReusedError):
        entrance.ask("large", request_id="r")


def test_an_audit_that_only_joins_what_waits_is_taken_into_a_full_queue(
    entrance: Entrance,
) -> None:
    entrance.plan("large", lane_bytes=2 * QUEUE)  # an empty queue takes anything
    entrance.plan("small", lane_bytes=1)
    first = entrance.ask("large")

    assert entrance.ask("large") != first
    with pytest.raises(TenantQueueFullError):
        entrance.ask("small")


def test_a_result_that_is_gone_takes_room_again(entrance: Entrance) -> None:
    entrance.plan("done", lane_bytes=200)
    entrance.plan("waiting", lane_bytes=500)
    entrance.ask("done")
    group = entrance.records.claim()
    assert group is not None
    entrance.records.leases.complete([completion(group.actions[0])])
    entrance.ask("waiting")

    entrance.ask("done")
    entrance.plans.gone = frozenset({result("x")})

    with pytest.raises(TenantQueueFullError):
        entrance.ask("done")
    assert entrance.records.reader.pending(TENANT, [key("done"), key("waiting")]) == {
        key("waiting")
    }
