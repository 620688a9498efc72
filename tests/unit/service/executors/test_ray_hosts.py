"""What a Ray cluster's hosts must have."""

from pathlib import Path

import pytest

from auditor.errors import UnavailableError
from service.executors.ray_hosts import Expected, Marker, require_room, room_on, sharing, unfit
from service.ray_config import RayConfig
from service.versions import installed_versions

SMALL, WITH_GPUS = {"CPU": 3.0, "memory": 1e9}, {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("cpus", "gpus", "room"), [(1, 0, 11), (2, 0, 5), (5, 0, 1), (1, 1, 2), (8, 1, 1)]
)
def test_a_worker_is_never_spread_over_two_hosts(cpus: int, gpus: int, room: int) -> None:
    config = RayConfig(cpus_per_worker=cpus, gpus_per_worker=gpus)

    assert room_on([SMALL, WITH_GPUS], config=config) == room


@pytest.mark.parametrize(
    ("placed", "room", "workers"),
    [
        ([name for name in "abcd" for _ in range(4)], 64, 4),  # 16 workers, four a host
        (["a"] * 2 + ["b"] * 6, 64, 2),
        (["a", "b", None, None], 64, 3),  # the others may come here
        (["a", "b", None, None], 2, 2),  # but there is no room for both
        (["b"], 0, 1),  # it was here a moment ago
    ],
)
def test_memory_is_shared_between_the_workers_of_a_host(
    placed: list[str | None], room: int, workers: int
) -> None:
    assert sharing("a", placed=placed, room=room) == workers


def test_room_that_suffices_is_enough() -> None:
    require_room(RayConfig(workers=2, gpus_per_worker=1), hosts=[SMALL, WITH_GPUS])


def test_what_is_missing_is_named() -> None:
    config = RayConfig(workers=3, gpus_per_worker=1)

    with pytest.raises(UnavailableError, match=r"room for 2; hosts: 2, CPUs: 11, GPUs: 2"):
        require_room(config, hosts=[SMALL, WITH_GPUS])


def make_expected(folder: Path) -> Expected:
    return Expected(marker=folder / "marker", secret="s", versions=installed_versions())  # noqa: S106 - no password


def test_a_host_with_the_folder_and_the_code_will_do(tmp_path: Path) -> None:
    (tmp_path / "marker").write_text("s")

    assert unfit(make_expected(tmp_path), host="node7") is None


@pytest.mark.parametrize(
    ("content", "found"), [(None, "No such file or directory"), ("other", "another folder")]
)
def test_a_host_without_the_folder_is_named(
    tmp_path: Path, content: str | None, found: str
) -> None:
    if content is not None:
        (tmp_path / "marker").write_text(content)

    problem = unfit(make_expected(tmp_path), host="node7")

    assert problem is not None
    assert problem.where == f"{tmp_path} on node7"
    assert problem.found == found
    assert "same path" in problem.remedy


def test_front_ends_of_one_folder_leave_each_others_markers_alone(tmp_path: Path) -> None:
    first, second = (Marker(tmp_path, front_end=name) for name in ("01A", "01B"))
    first.write()
    second.write()
    second.remove()

    expected = Expected(marker=first.path, secret=first.secret, versions=installed_versions())
    assert unfit(expected, host="node7") is None
    assert not second.path.exists()


def test_a_marker_that_was_not_written_takes_no_other_away(tmp_path: Path) -> None:
    first, failed = (Marker(tmp_path, front_end="01A") for _ in range(2))
    failed.remove()
    first.write()
    failed.remove()

    assert first.path.read_text() == first.secret


def test_a_front_end_that_was_killed_leaves_one_marker_at_most(tmp_path: Path) -> None:
    killed, after = (Marker(tmp_path, front_end="01A") for _ in range(2))
    killed.write()
    after.write()
    after.remove()

    assert list(tmp_path.iterdir()) == []


def test_a_host_with_other_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "marker").write_text("s")
    expected = Expected(
        marker=tmp_path / "marker",
        secret="s",  # noqa: S106 - no password
        versions={"version": "0.0.0", "torch": "0"},
    )

    problem = unfit(expected, host="node7")

    assert problem is not None
    assert problem.where == "packages on node7"
    assert "'version': '0.0.0'" in problem.expected
