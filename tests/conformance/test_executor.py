"""What every executor does: worker processes of this machine, and those of a Ray cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.edge.folder import FolderBlobs
from auditor.errors import ResourceError, UnavailableError
from auditor.plan.actions import key_of
from service.executors.base import (
    GroupAbandoned,
    GroupDone,
    GroupFailed,
    GroupStarted,
    GroupStepped,
    WorkerBeat,
    WorkerEnded,
    WorkerReady,
)
from service.executors.local import LocalExecutor, ProcessExecutor, WorkerSettings
from service.ray_config import RayConfig
from service.scheduler.leases import Death
from tests.support.fake_engine import (
    LANE_BYTES,
    NO_ENGINE,
    SMALL_MEMORY,
    Behaviour,
    make_spec,
    result_of,
)
from tests.support.ray_cluster import CPUS, connected_cluster
from tests.support.running_executor import FENCE, Make, Running
from tests.support.server_process import ended, kill_process, parent_of

ENDLESS = make_spec(Behaviour.RUN_UNTIL_STOPPED)


def _on_ray(address: str) -> Make:
    def make(settings: WorkerSettings) -> ProcessExecutor:
        from service.executors.ray import RayExecutor

        return RayExecutor(settings, config=RayConfig(address=address), front_end="a")

    return make


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Return the address of a cluster; it is started once, which takes seconds."""
    with connected_cluster() as address:
        yield address


@pytest.fixture(scope="module", params=["local", "ray"])
def make(request: pytest.FixtureRequest) -> Make:
    """Return what makes an executor."""
    if request.param == "local":
        return LocalExecutor
    return _on_ray(request.getfixturevalue("cluster"))


@pytest.fixture(scope="module")
def running(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    opened = Running(make, root=tmp_path_factory.mktemp("blobs"))
    yield opened
    opened.executor.close()


def test_a_group_comes_back_with_stored_results_and_its_fence(running: Running) -> None:
    worker = running.worker()
    specs = [make_spec(replica=replica) for replica in range(3)]

    group = running.submit(*specs)
    started = running.wait_for(GroupStarted)
    done = running.wait_for(GroupDone)

    assert started == GroupStarted(worker=worker, group=group)
    assert (done.worker, done.group) == (worker, group)
    assert [result.key for result in done.results] == [key_of(spec) for spec in specs]
    assert [result.digest for result in done.results] == [result_of(spec) for spec in specs]
    assert {result.fence for result in done.results} == {FENCE}
    assert all(FolderBlobs(running.root).has(result.digest) for result in done.results)
    assert done.compute_seconds >= 0


def test_events_of_a_group_come_in_order(running: Running) -> None:
    group = running.submit(make_spec(Behaviour.RUN_UNTIL_STOPPED), make_spec(replica=1))
    worker = running.worker()
    kinds: list[type] = []
    while GroupStepped not in kinds:
        kinds.append(type(running.next()))
    running.executor.cancel(worker, group, [key_of(ENDLESS)])
    while GroupDone not in kinds:
        kinds.append(type(running.next()))

    told = [kind for kind in kinds if kind is not WorkerBeat]
    assert told[0] is GroupStarted
    assert told[-1] is GroupDone
    assert set(told[1:-1]) == {GroupStepped}


def test_groups_wait_for_each_other_on_a_worker(running: Running) -> None:
    first, second = running.submit(make_spec()), running.submit(make_spec(replica=1))

    ends = [running.wait_for(GroupDone).group for _ in range(2)]

    assert ends == [first, second]


def test_what_libraries_print_does_not_disturb_the_messages(running: Running) -> None:
    group = running.submit(make_spec(Behaviour.PRINT))

    assert running.wait_for(GroupDone).group == group


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
    group, behind = running.submit(make_spec(behaviour)), running.submit(make_spec())

    failed = running.wait_for(GroupFailed)
    done = running.wait_for(GroupDone)

    assert (failed.group, failed.failure.code) == (group, code)
    assert (done.worker, done.group) == (failed.worker, behind)


def test_memory_that_runs_out_in_a_large_group_is_enough_for_its_half(
    make: Make, tmp_path: Path
) -> None:
    running = Running(make, root=tmp_path, engine=SMALL_MEMORY)
    specs = [make_spec(replica=replica) for replica in range(8)]
    try:
        running.submit(*specs)
        failed = running.wait_for(GroupFailed)
        running.submit(*specs[:2])
        done = running.wait_for(GroupDone)
    finally:
        running.executor.close()

    assert failed.failure.code == ResourceError.code
    assert [result.digest for result in done.results] == [result_of(spec) for spec in specs[:2]]
    assert done.peak_bytes is not None
    assert LANE_BYTES < done.peak_bytes < 8 * LANE_BYTES


def test_a_worker_says_what_its_groups_may_use(make: Make, tmp_path: Path) -> None:
    running = Running(make, root=tmp_path, memory=12345)
    try:
        event = running.wait_for(WorkerReady)
    finally:
        running.executor.close()

    assert event.memory_bytes == 12345


def test_cancelled_lanes_are_left_out_and_the_others_finish(running: Running) -> None:
    short = make_spec(replica=1)

    group = running.submit(short, ENDLESS)
    running.wait_for(GroupStepped)
    running.executor.cancel(running.worker(), group, [key_of(ENDLESS)])
    done = running.wait_for(GroupDone)

    assert [result.key for result in done.results] == [key_of(short)]


def test_a_group_cancelled_as_a_whole_comes_back_empty(running: Running) -> None:
    group = running.submit(ENDLESS)
    running.wait_for(GroupStepped)
    running.executor.cancel(running.worker(), group, [key_of(ENDLESS)])

    assert running.wait_for(GroupDone).results == ()


def test_a_worker_says_that_it_is_alive_while_it_computes(running: Running) -> None:
    worker = running.worker()

    group = running.submit(ENDLESS)
    running.wait_for(GroupStarted)

    assert running.wait_for(WorkerBeat) == WorkerBeat(worker=worker)
    running.executor.cancel(worker, group, [key_of(ENDLESS)])
    running.wait_for(GroupDone)


def test_a_lost_device_ends_the_process_after_its_answer(running: Running) -> None:
    worker = running.worker()

    running.submit(make_spec(Behaviour.LOSE_DEVICE))
    failed = running.wait_for(GroupFailed)
    end = running.wait_for(WorkerEnded)

    assert failed.failure.code == "UNAVAILABLE"
    assert end == WorkerEnded(worker=worker, device="cpu", death=Death.EXIT)


@pytest.mark.parametrize(
    ("behaviour", "death"), [(Behaviour.CRASH, Death.FAULT), (Behaviour.EXIT, Death.EXIT)]
)
def test_a_worker_that_ends_is_reported_and_replaced(
    running: Running, behaviour: Behaviour, death: Death
) -> None:
    worker = running.worker()

    running.submit(make_spec(behaviour))
    end = running.wait_for(WorkerEnded)
    group = running.submit(make_spec())
    done = running.wait_for(GroupDone)

    assert end == WorkerEnded(worker=worker, device="cpu", death=death)
    assert done.group == group
    assert done.worker != worker


def test_a_killed_worker_is_no_fault_of_its_group_and_the_next_takes_groups(
    running: Running,
) -> None:
    worker = running.worker()
    running.submit(ENDLESS)
    running.wait_for(GroupStepped)

    os.kill(running.process(), signal.SIGKILL)
    end = running.wait_for(WorkerEnded)
    group = running.submit(make_spec())

    assert end == WorkerEnded(worker=worker, device="cpu", death=Death.KILLED)
    assert running.wait_for(GroupDone).group == group


def test_a_worker_that_ended_takes_no_group(running: Running) -> None:
    former = running.worker()
    running.executor.end(former)
    running.wait_for(WorkerEnded)
    running.worker()

    running.submit(make_spec(), worker=former)
    group = running.submit(make_spec())

    assert running.wait_for(GroupStarted).group == group
    assert running.wait_for(GroupDone).group == group


def test_a_worker_that_hangs_can_be_ended(running: Running) -> None:
    worker = running.worker()
    os.kill(running.process(), signal.SIGSTOP)

    running.executor.end(worker)

    assert running.wait_for(WorkerEnded).death is Death.KILLED
    assert running.wait_for(WorkerReady).worker != worker


def test_drain_abandons_the_running_group_and_those_behind_it(running: Running) -> None:
    worker = running.worker()

    first, second = running.submit(ENDLESS), running.submit(make_spec())
    running.wait_for(GroupStepped)
    running.executor.drain()

    assert running.wait_for(GroupAbandoned) == GroupAbandoned(worker=worker, group=first)
    assert running.wait_for(GroupAbandoned) == GroupAbandoned(worker=worker, group=second)
    running.executor.end(worker)  # it would abandon everything from now on
    running.wait_for(WorkerEnded)


def test_close_leaves_no_process(make: Make, tmp_path: Path) -> None:
    running = Running(make, root=tmp_path)
    running.submit(ENDLESS)
    running.wait_for(GroupStepped)
    process = running.process()

    running.executor.close()

    assert running.executor.process_ids() == ()
    assert not kill_process(process)


def test_a_device_that_is_not_there_never_gets_ready(make: Make, tmp_path: Path) -> None:
    running = Running(make, root=tmp_path, engine=NO_ENGINE)

    first = running.next()
    running.executor.close()

    assert isinstance(first, WorkerEnded)
    assert first.death is Death.EXIT


def test_an_actor_that_is_killed_takes_its_worker_along_and_ray_starts_it_again(
    cluster: str, tmp_path: Path
) -> None:
    running = Running(_on_ray(cluster), root=tmp_path)
    former, process = running.worker(), running.process()
    running.submit(ENDLESS)
    running.wait_for(GroupStepped)
    watched = os.pidfd_open(process)

    os.kill(parent_of(process), signal.SIGKILL)
    death = running.wait_for(WorkerEnded)
    group = running.submit(make_spec())
    done = running.wait_for(GroupDone)
    running.executor.close()

    assert death == WorkerEnded(worker=former, device="cpu", death=Death.KILLED)
    assert ended(watched)
    assert done.group == group
    assert done.worker != former


def test_what_the_cluster_does_not_have_is_refused_at_once(cluster: str, tmp_path: Path) -> None:
    from service.executors.ray import RayExecutor

    config = RayConfig(address=cluster, workers=CPUS + 1)
    settings = WorkerSettings(
        blobs_root=tmp_path, devices=config.devices, threads=1, heartbeat_seconds=1
    )
    executor = RayExecutor(settings, config=config, front_end="a")

    with pytest.raises(UnavailableError, match=f"room for {CPUS}; hosts: 1, CPUs: {CPUS}, GPUs: 0"):
        executor.start(lambda _event: None)
    executor.close()
