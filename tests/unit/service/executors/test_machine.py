from pathlib import Path

from service.executors.cgroup import oom_kills
from service.executors.devices import resolve_devices, threads_a_worker


def test_oom_kills_are_read_from_the_control_group(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n")

    assert oom_kills(events) == 2


def test_a_machine_without_control_groups_has_no_oom_kills(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "memory.events") == 0


def test_auto_is_the_cpu_where_no_driver_is(tmp_path: Path) -> None:
    assert resolve_devices(("auto",), nodes=tmp_path) == ("cpu",)


def test_devices_that_are_named_are_taken(tmp_path: Path) -> None:
    assert resolve_devices(("cuda:1", "cuda:3"), nodes=tmp_path) == ("cuda:1", "cuda:3")


def test_workers_share_the_cores_unless_told(tmp_path: Path) -> None:
    assert threads_a_worker(5, workers=2) == 5
    assert threads_a_worker(None, workers=10_000) == 1
