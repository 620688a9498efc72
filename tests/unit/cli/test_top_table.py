"""The status as people see it."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from service.cli.time_words import duration, time_left
from service.cli.top_table import top_table
from service.convert_status import to_scheduler_status
from service.scheduler.picture import (
    DevicePicture,
    DeviceState,
    GroupPicture,
    LanesPicture,
    MemoryPicture,
    QueuePicture,
    SchedulerPicture,
    TenantPicture,
    only_of,
)
from service.views import view

PICTURE = SchedulerPicture(
    taken=1_767_225_600.0,
    since=1_767_225_000.0,
    all_tenants=True,
    queue=tuple(
        QueuePicture(priority=priority, ready=ready, blocked=2, leased=0, oldest_seconds=200.0)
        for priority, ready in ((0, 0), (1, 7), (2, 1))
    ),
    groups=(
        GroupPicture(
            kind="advance", device="cuda:0", lanes=3, tenants={"team-b": 1, "default": 2},
            started=True, running_seconds=12.0, done_steps=25, total_steps=100, seconds_left=36.0,
        ),
        GroupPicture(
            kind="sweep", device="cuda:0", lanes=1, tenants={"default": 1},
            started=False, running_seconds=0.0, done_steps=0, total_steps=0, seconds_left=None,
        ),
    ),
    lanes=LanesPicture(running=3, max_lanes=64, recent_groups=5, recent_mean=16.0),
    devices=(
        DevicePicture(
            device="cuda:0", state=DeviceState.BUSY, workers=1, busy_share=0.93, groups=2,
            restarts=1, memory=MemoryPicture(budget=8 * 2**30, reserved=0, used=3 * 2**29),
        ),
        DevicePicture(
            device="cuda:1", state=DeviceState.NO_WORKER, workers=0, busy_share=0.0, groups=0,
            restarts=4,
        ),
    ),
    tenants=(
        TenantPicture(
            tenant="default", weight=1.0, running_lanes=2, queued_actions=9, device_share=0.75,
            succeeded=11, failed=1, cancelled=0,
        ),
        TenantPicture(
            tenant="team-b", weight=0.5, running_lanes=1, queued_actions=0, device_share=0.25,
            succeeded=0, failed=0, cancelled=2,
        ),
    ),
)  # fmt: skip


def plain(picture: SchedulerPicture) -> Mapping[str, Any]:
    return view(to_scheduler_status(picture))


def lines(picture: SchedulerPicture) -> list[list[str]]:
    """Return the words of every line of the tables, as a terminal of 120 columns shows them."""
    console = Console(file=StringIO(), width=120)
    console.print(top_table(plain(picture)))
    assert isinstance(console.file, StringIO)
    return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]


def test_tables_show_every_part() -> None:
    shown = lines(PICTURE)

    assert " ".join(shown[0]) == (
        "00:00:00 UTC 3 lanes run, at most 64 a group; "
        "last minute: 5 groups of 16.0 lanes, 25% full"
    )
    assert ["gate", "1", "2", "0", "3", "min"] in shown
    assert ["batch", "0", "2", "0"] in shown
    assert [
        "advance", "cuda:0", "3", "25/100", "12", "s", "36", "s", "default", "2,", "team-b", "1",
    ] in shown  # fmt: skip
    assert ["sweep", "cuda:0", "1", "next", "default"] in shown
    busy = ["cuda:0", "busy", "1", "93%", "2", "1", "1.5", "of", "8.0", "GiB"]
    assert busy in shown
    assert ["cuda:1", "no", "worker", "0", "0%", "0", "4"] in shown
    assert ["default", "1", "2", "9", "75%", "11", "1", "0"] in shown


def test_gates_are_above_batches() -> None:
    words = [line[0] for line in lines(PICTURE)]

    assert words.index("gate") < words.index("normal") < words.index("batch")


def test_a_tenant_is_told_that_it_sees_only_its_own() -> None:
    shown = lines(only_of(PICTURE, "team-b"))

    assert " ".join(shown[1]) == "groups and tenants: your own"
    assert "default" not in [word for line in shown for word in line]
    assert ["advance", "cuda:0", "3", "25/100", "12", "s", "36", "s", "team-b"] in shown


def test_unknown_time_left_is_absent_and_not_zero() -> None:
    first, second = plain(PICTURE)["groups"]

    assert first["seconds_left"] == 36.0
    assert "seconds_left" not in second


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (8.0, "8 s"),
        (89.0, "89 s"),
        (100.0, "1.7 min"),
        (180.0, "3 min"),
        (5400.0, "1.5 h"),
        (20_000.0, "6 h"),
        (300_000.0, "3 d"),
    ],
)
def test_duration_has_one_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_time_left_says_what_it_is() -> None:
    assert time_left(180.0) == "about 3 min left"
    assert time_left(8.0, bound="at least") == "at least 8 s left"
