"""How fast the scheduler is: actions planned and claimed a second, and what it adds to actions.

Usage: python -m benchmarks.scheduler [--quick] --json F

*Queue*: 10,000 actions of 500 audits of ten tenants are stored through the records on SQLite, then
claimed in the groups that the group former makes and completed until nothing is left. No device
computes anything. Bound: 1,000 actions a second each for planning and for claiming with completing,
in groups of at most 64, the default. Smaller groups are measured as well.

*Overhead*: the real loop of the scheduler, its records, rounds and telemetry, and one worker that
computes nothing but counts a second for every action. Overhead is (processor seconds of the process
+ seconds in which the device has no group) / seconds of the actions. The device has no group from
an answer that leaves its queue empty to the end of the turn that answers. Audits are planned before
and not counted. Bound: 1 %, at groups of one lane, where there is a claim for every action.

Wall times of this benchmark grow with whatever else runs, so processor time is given beside them.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from auditor.edge.clock import SystemClock
from auditor.stagelog.digest import Digest
from benchmarks.measuring import machine_facts, publish, read_options, seconds_of
from benchmarks.scheduler_workload import (
    ACTIONS,
    IdleDevice,
    StoredPlans,
    make_audit,
    open_records,
)
from service.metrics import Metrics
from service.notices import Notices
from service.records.audits import SqlAudits
from service.records.checks import SqlLogChecks
from service.records.engine import Database
from service.records.jobs import Completion, LeasedGroup
from service.records.leases import SqlLeases
from service.records.reading import SqlAuditReader
from service.records.upkeep import SqlUpkeep
from service.rounds import CheckEnding, Rounds
from service.saved_states import SavedStates
from service.scheduler.arrivals import Arrivals
from service.scheduler.batch_delay import Launch, When
from service.scheduler.fair_share import FairShare
from service.scheduler.formation import Formation, SchedulerSettings
from service.scheduler.group_seconds import GroupSeconds
from service.scheduler.loop import Scheduler
from service.scheduler.overview import Overview
from service.scheduler.reactions import Reactions
from service.scheduler.setbacks import Setbacks
from service.telemetry import Telemetry
from tests.support.memory_blobs import MemoryBlobs

ACTIONS_A_SECOND = 1000
OVERHEAD_BOUND = 0.01
AUDITS = 500
OVERHEAD_AUDITS = 25


def measure_queue(folder: Path, *, audits: int, max_lanes: int) -> dict[str, Any]:
    """Plan all audits, then claim and complete their actions until nothing is left."""
    database = open_records(folder)
    stored = SqlAudits(database, now=time.time)
    leases = SqlLeases(database, now=time.time)
    new = [make_audit(number) for number in range(audits)]
    actions = audits * ACTIONS
    cpu = time.process_time()
    planning = seconds_of(lambda: [stored.create(audit, gone=()) for audit in new])
    planning_cpu = time.process_time() - cpu
    claims: list[float] = []
    completes: list[float] = []
    lanes: list[int] = []
    served: dict[str, float] = {}
    cpu = time.process_time()
    while True:
        begin = time.perf_counter()
        group = leases.claim(
            "worker",
            lanes_of=lambda _head: max_lanes,
            lease_seconds=30,
            launch=Launch(when=When.NOW, max_delay_seconds=0.05),
            start_of=lambda tenant: served.get(tenant, 0.0),
        ).group
        claims.append(time.perf_counter() - begin)
        if group is None:
            break
        lanes.append(len(group.actions))
        for action in group.actions:
            served[action.tenant] = served.get(action.tenant, 0.0) + 1.0
        done = completions(group)
        completes.append(seconds_of(partial(leases.complete, done)))
    claiming_cpu = time.process_time() - cpu
    database.close()
    assert sum(lanes) == actions
    return {
        "max_lanes": max_lanes,
        "actions": actions,
        "groups": len(lanes),
        "planned_a_second": round(actions / planning),
        "claimed_and_completed_a_second": round(actions / (sum(claims) + sum(completes))),
        "planned_a_processor_second": round(actions / planning_cpu),
        "claimed_and_completed_a_processor_second": round(actions / claiming_cpu),
        "milliseconds_a_claim": round(1e3 * sum(claims) / len(claims), 2),
        "milliseconds_a_completion": round(1e3 * sum(completes) / len(completes), 2),
    }


def completions(group: LeasedGroup) -> list[Completion]:
    """Return results of a group."""
    return [
        Completion(
            lease=action.lease,
            digest=Digest(action.key),
            size=1,
            gradient_examples=1,
            compute_seconds=1.0,
            lanes=len(group.actions),
        )
        for action in group.actions
    ]


def measure_overhead(folder: Path, *, audits: int, max_lanes: int) -> dict[str, Any]:
    """Run audits through the loop of the scheduler, the device's time being its own."""
    database = open_records(folder)
    new = [make_audit(number) for number in range(audits)]
    device = IdleDevice()
    scheduler = _scheduler(database, StoredPlans(new), device, max_lanes=max_lanes, folder=folder)
    stored = SqlAudits(database, now=time.time)
    for audit in new:
        stored.create(audit, gone=())
    device.start(scheduler.report)
    scheduler.turn(timeout_seconds=0)
    gaps = 0.0
    cpu = time.process_time()
    while device.holds_a_group:
        scheduler.report(device.compute())
        waits = not device.holds_a_group
        turn = seconds_of(lambda: scheduler.turn(timeout_seconds=0))
        gaps += turn if waits else 0.0
    used = time.process_time() - cpu
    database.close()
    assert device.action_seconds == audits * ACTIONS
    return {
        "max_lanes": max_lanes,
        "actions": device.action_seconds,
        "groups": device.groups,
        "processor_milliseconds_an_action": round(1e3 * used / device.action_seconds, 2),
        "gap_milliseconds_an_action": round(1e3 * gaps / device.action_seconds, 2),
        "overhead": round((used + gaps) / device.action_seconds, 5),
    }


def _scheduler(
    database: Database, plans: StoredPlans, device: IdleDevice, *, max_lanes: int, folder: Path
) -> Scheduler:
    clock = SystemClock()
    notices = Notices()
    seconds = GroupSeconds()
    overview = Overview(clock, max_lanes=max_lanes, expected=seconds)
    telemetry = Telemetry(Metrics(), max_lanes=max_lanes, overview=overview)
    audits = SqlAudits(database, now=time.time)
    leases = SqlLeases(database, now=time.time)
    rounds = Rounds(
        audits=audits,
        reader=SqlAuditReader(database),
        planner=plans,
        finisher=plans,
        checks=CheckEnding(judge=plans, records=SqlLogChecks(database, now=time.time)),
        notices=notices,
        telemetry=telemetry,
    )
    reactions = Reactions(
        leases=leases,
        executor=device,
        rounds=rounds,
        setbacks=Setbacks(
            leases, MemoryBlobs(), telemetry=telemetry, max_attempts=3, jitter=lambda: 1.0
        ),
        notices=notices,
        telemetry=telemetry,
        shares=FairShare(),
        formation=Formation(
            SchedulerSettings(max_lanes=max_lanes, lease_seconds=3600, seconds=seconds),
            arrivals=Arrivals(),
        ),
    )
    return Scheduler(
        reactions,
        SqlUpkeep(database, now=time.time),
        executor=device,
        telemetry=telemetry,
        clock=clock,
        saved=SavedStates(folder),
    )


def main() -> int:
    """Measure and say whether the bounds are kept."""
    options = read_options(__doc__)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    facts = machine_facts()
    audits = AUDITS // 10 if options.quick else AUDITS
    queues, overheads = [], []
    for max_lanes in (64, 16):
        with tempfile.TemporaryDirectory() as folder:
            queues.append(measure_queue(Path(folder), audits=audits, max_lanes=max_lanes))
    for max_lanes in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            overheads.append(
                measure_overhead(
                    Path(folder),
                    audits=OVERHEAD_AUDITS // 5 if options.quick else OVERHEAD_AUDITS,
                    max_lanes=max_lanes,
                )
            )
    kept = {
        "planned": queues[0]["planned_a_second"] >= ACTIONS_A_SECOND,
        "claimed": queues[0]["claimed_and_completed_a_second"] >= ACTIONS_A_SECOND,
        "overhead": overheads[0]["overhead"] <= OVERHEAD_BOUND,
    }
    publish(
        "scheduler",
        options=options,
        facts=facts,
        results={"queue": queues, "overhead": overheads, "kept": kept},
    )
    return 0 if options.quick or all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
