import os
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.edge.folder import FolderBlobs
from auditor.errors import ResourceError
from auditor.plan.actions import ActionSpec, key_of
from auditor.plan.groups import group_key
from service.executors.base import (
    GroupAbandoned,
    GroupDone,
    GroupFailed,
    GroupStarted,
    GroupStepped,
    WorkerBeat,
    WorkerEnded,
    WorkerEvent,
    WorkerReady,
)
from service.executors.local import LocalExecutor, WorkerSettings, death_of
from service.records.jobs import Lease, LeasedAction, LeasedGroup
from service.scheduler.leases import Death
from tests.support.fake_engine import (
    ENGINE,
    LANE_BYTES,
    NO_ENGINE,
    SMALL_MEMORY,
    Behaviour,
    make_spec,
    result_of,
)

PATIENCE_SECONDS = 30


class Running:
    """An executor with one worker and everything it reported."""

    def __init__(self, root: Path, engine: str) -> None:
        self.executor = LocalExecutor(
            WorkerSettings(
                blobs_root=root, devices=("cpu",), threads=1, heartbeat_seconds=0.05, engine=engine
            )
        )
        self.events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()

    def wait_for(self, kind: type[WorkerEvent]) -> WorkerEvent:
        """Return the next event of a kind; others are passed over."""
        while True:
            event = self.events.get(timeout=PATIENCE_SECONDS)
            if isinstance(event, kind):
                return event

    def ready(self) -> str:
        event = self.wait_for(WorkerReady)
        assert isinstance(event, WorkerReady)
        return event.worker


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    opened = Running(tmp_path, ENGINE)
    opened.executor.start(opened.events.put)
    yield opened
    opened.executor.close()


def make_group(*specs: ActionSpec, fence: int = 7) -> LeasedGroup:
    actions = tuple(
        LeasedAction(
            tenant="default",
            lease=Lease(action=number, fence=fence),
            key=key_of(spec),
            kind=spec.kind,
            group_key=group_key(spec),
            spec=spec.model_dump_json(),
            attempt=1,
            returned=0,
            deaths=0,
            priority=1,
            waited_seconds=0.0,
            audits=(),
        )
        for number, spec in enumerate(specs)
    )
    return LeasedGroup(actions=actions, results={})


def test_a_group_comes_back_with_stored_results_and_its_fence(
    running: Running, tmp_path: Path
) -> None:
    worker = running.ready()
    specs = [make_spec(replica=replica) for replica in range(3)]

    running.executor.submit(worker, 1, make_group(*specs))
    started = running.wait_for(GroupStarted)
    done = running.wait_for(GroupDone)

    assert started == GroupStarted(worker=worker, group=1)
    assert isinstance(done, GroupDone)
    assert [result.digest for result in done.results] == [result_of(spec) for spec in specs]
    assert {result.fence for result in done.results} == {7}
    assert all(FolderBlobs(tmp_path).has(result.digest) for result in done.results)
    assert done.compute_seconds >= 0


def test_memory_that_runs_out_in_a_large_group_is_enough_for_its_half(tmp_path: Path) -> None:
    opened = Running(tmp_path, SMALL_MEMORY)
    opened.executor.start(opened.events.put)
    specs = [make_spec(replica=replica) for replica in range(8)]
    try:
        worker = opened.ready()
        opened.executor.submit(worker, 1, make_group(*specs))
        failed = opened.wait_for(GroupFailed)
        opened.executor.submit(worker, 2, make_group(*specs[:2]))
        done = opened.wait_for(GroupDone)
    finally:
        opened.executor.close()

    assert isinstance(failed, GroupFailed)
    assert failed.failure.code == ResourceError.code
    assert isinstance(done, GroupDone)
    assert [result.digest for result in done.results] == [result_of(spec) for spec in specs[:2]]
    assert done.peak_bytes is not None
    assert LANE_BYTES < done.peak_bytes < 8 * LANE_BYTES


def test_a_worker_says_what_its_groups_may_use(tmp_path: Path) -> None:
    settings = WorkerSettings(
        blobs_root=tmp_path, devices=("cpu",), threads=1, heartbeat_seconds=0.05, engine=ENGINE,
        device_memory_bytes=12345,
    )  # fmt: skip
    events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
    executor = LocalExecutor(settings)
    executor.start(events.put)
    try:
        event = events.get(timeout=PATIENCE_SECONDS)
    finally:
        executor.close()

    assert isinstance(event, WorkerReady)
    assert event.memory_bytes == 12345


def test_what_libraries_print_does_not_disturb_the_pipe(running: Running) -> None:
    worker = running.ready()

    running.executor.submit(worker, 1, make_group(make_spec(Behaviour.PRINT)))

    assert isinstance(running.wait_for(GroupDone), GroupDone)


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour.FAIL, "NUMERICAL_FAILURE"),
        (Behaviour.RAISE_A_BUG, "INTERNAL"),
        (Behaviour.EXHAUST_MEMORY, "RESOURCE_EXHAUSTED"),
    ],
)
def test_errors_come_back_typed_and_the_worker_goes_on(
    running: Running, behaviour: Behaviour, code: str
) -> None:
    worker = running.ready()

    running.executor.submit(worker, 1, make_group(make_spec(behaviour)))
    running.executor.submit(worker, 2, make_group(make_spec()))
    failed = running.wait_for(GroupFailed)
    done = running.wait_for(GroupDone)

    assert isinstance(failed, GroupFailed)
    assert (failed.group, failed.failure.code) == (1, code)
    assert isinstance(done, GroupDone)
    assert done.group == 2


def test_a_lost_device_ends_the_process_after_its_answer(running: Running) -> None:
    worker = running.ready()

    running.executor.submit(worker, 1, make_group(make_spec(Behaviour.LOSE_DEVICE)))
    failed = running.wait_for(GroupFailed)
    ended = running.wait_for(WorkerEnded)

    assert isinstance(failed, GroupFailed)
    assert failed.failure.code == "UNAVAILABLE"
    assert ended == WorkerEnded(worker=worker, device="cpu", death=Death.EXIT)


@pytest.mark.parametrize(
    ("behaviour", "death"), [(Behaviour.CRASH, Death.FAULT), (Behaviour.EXIT, Death.EXIT)]
)
def test_a_worker_that_ends_is_reported_and_replaced(
    running: Running, behaviour: Behaviour, death: Death
) -> None:
    worker = running.ready()

    running.executor.submit(worker, 1, make_group(make_spec(behaviour)))
    ended = running.wait_for(WorkerEnded)

    assert ended == WorkerEnded(worker=worker, device="cpu", death=death)
    assert running.ready() != worker


def test_a_killed_worker_is_no_fault_of_its_action(running: Running) -> None:
    worker = running.ready()
    (process,) = running.executor.process_ids()

    os.kill(process, signal.SIGKILL)

    ended = running.wait_for(WorkerEnded)
    assert ended == WorkerEnded(worker=worker, device="cpu", death=Death.KILLED)


def test_cancelled_lanes_are_left_out_and_the_others_finish(running: Running) -> None:
    worker = running.ready()
    endless, short = make_spec(Behaviour.RUN_UNTIL_STOPPED), make_spec(replica=1)

    running.executor.submit(worker, 1, make_group(short, endless))
    running.wait_for(GroupStepped)
    running.executor.cancel(worker, 1, [key_of(endless)])
    done = running.wait_for(GroupDone)

    assert isinstance(done, GroupDone)
    assert [result.key for result in done.results] == [key_of(short)]


def test_a_group_cancelled_as_a_whole_comes_back_empty(running: Running) -> None:
    worker = running.ready()
    endless = make_spec(Behaviour.RUN_UNTIL_STOPPED)

    running.executor.submit(worker, 1, make_group(endless))
    running.wait_for(GroupStepped)
    running.executor.cancel(worker, 1, [key_of(endless)])
    done = running.wait_for(GroupDone)

    assert isinstance(done, GroupDone)
    assert done.results == ()


def test_drain_abandons_the_running_group_and_those_behind_it(running: Running) -> None:
    worker = running.ready()

    running.executor.submit(worker, 1, make_group(make_spec(Behaviour.RUN_UNTIL_STOPPED)))
    running.executor.submit(worker, 2, make_group(make_spec()))
    running.wait_for(GroupStepped)
    running.executor.drain()

    assert running.wait_for(GroupAbandoned) == GroupAbandoned(worker=worker, group=1)
    assert running.wait_for(GroupAbandoned) == GroupAbandoned(worker=worker, group=2)


def test_a_worker_says_that_it_is_alive_while_it_computes(running: Running) -> None:
    worker = running.ready()

    running.executor.submit(worker, 1, make_group(make_spec(Behaviour.RUN_UNTIL_STOPPED)))
    running.wait_for(GroupStarted)

    assert running.wait_for(WorkerBeat) == WorkerBeat(worker=worker)


def test_close_leaves_no_process(running: Running) -> None:
    worker = running.ready()
    (process,) = running.executor.process_ids()
    running.executor.submit(worker, 1, make_group(make_spec(Behaviour.RUN_UNTIL_STOPPED)))

    running.executor.close()

    assert running.executor.process_ids() == ()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_device_that_is_not_there_never_gets_ready(tmp_path: Path) -> None:
    opened = Running(tmp_path, NO_ENGINE)
    opened.executor.start(opened.events.put)

    first = opened.events.get(timeout=PATIENCE_SECONDS)
    opened.executor.close()

    assert isinstance(first, WorkerEnded)
    assert first.death is Death.EXIT


@pytest.mark.parametrize(
    ("code", "oom_kills", "death"),
    [
        (0, 0, Death.EXIT),
        (70, 0, Death.EXIT),
        (-signal.SIGKILL, 0, Death.KILLED),
        (-signal.SIGKILL, 1, Death.FAULT),
        (-signal.SIGTERM, 1, Death.KILLED),
        (-signal.SIGABRT, 0, Death.FAULT),
        (-signal.SIGBUS, 0, Death.FAULT),
    ],
)
def test_death_of_tells_faults_from_killings(code: int, oom_kills: int, death: Death) -> None:
    assert death_of(code, oom_kills_meanwhile=oom_kills) is death
