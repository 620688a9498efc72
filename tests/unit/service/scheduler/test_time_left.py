"""How long an audit will still take, of made-up work."""

from typing import Any

import pytest

from service.scheduler.time_left import (
    TimeLeft,
    WorkLeft,
    group_seconds_left,
    group_sizes,
    settled,
    time_left,
)


def work(**changes: Any) -> WorkLeft:
    """Return groups of 12 s and 8 s that wait for one worker, all of it planned."""
    usual: dict[str, Any] = {
        "waiting": (12.0, 8.0),
        "held": (),
        "workers": 1,
        "share": 1.0,
        "complete": True,
    }
    return WorkLeft(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 20.0),
        ({"held": (5.0,)}, 25.0),
        ({"held": (5.0, 3.0)}, 28.0),
        ({"workers": 2, "held": (10.0,)}, 15.0),
        ({"workers": 4}, 12.0),  # nothing is sooner than the longest group
        ({"workers": 4, "held": (16.0,)}, 16.0),
        ({"share": 0.25}, 80.0),
        ({"share": 0.25, "held": (5.0,)}, 85.0),  # a group that runs has its whole device
        ({"waiting": (), "held": (5.0,)}, 5.0),
    ],
)
def test_time_is_that_of_the_work_spread_over_the_workers(
    changes: dict[str, Any], seconds: float
) -> None:
    assert time_left(work(**changes)) == TimeLeft(seconds=seconds, at_least=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"complete": False},
        {"waiting": (12.0, 8.0, None)},
        {"held": (5.0, None)},
    ],
)
def test_what_is_not_known_makes_it_a_least_time(changes: dict[str, Any]) -> None:
    left = time_left(work(**changes))

    assert left is not None
    assert left.at_least
    assert left.seconds >= 20.0


@pytest.mark.parametrize(
    "changes",
    [
        {"waiting": (None,)},
        {"waiting": (None,), "held": (None,)},
        {"waiting": ()},
        {"workers": 0},
    ],
)
def test_nothing_is_said_where_nothing_is_known(changes: dict[str, Any]) -> None:
    assert time_left(work(**changes)) is None


@pytest.mark.parametrize(("lanes", "sizes"), [(0, ()), (1, (1,)), (8, (8,)), (20, (8, 8, 4))])
def test_actions_of_one_key_run_in_groups_as_large_as_may_be(
    lanes: int, sizes: tuple[int, ...]
) -> None:
    assert group_sizes(lanes, max_lanes=8) == sizes


@pytest.mark.parametrize(
    ("elapsed", "done", "total", "expected", "left"),
    [
        (10.0, 25, 100, None, 30.0),
        (10.0, 25, 100, 5.0, 30.0),  # its own steps know better than other groups
        (10.0, 100, 100, None, 0.0),
        (10.0, 0, 100, 12.0, 2.0),
        (0.0, 0, 0, 12.0, 12.0),
        (None, 0, 0, 12.0, 12.0),  # it is the worker's next
        (20.0, 0, 0, 12.0, None),
        (20.0, 0, 100, None, None),
        (None, 0, 0, None, None),
    ],
)
def test_a_group_takes_what_its_steps_or_others_of_its_kind_took(
    elapsed: float | None, done: int, total: int, expected: float | None, left: float | None
) -> None:
    assert group_seconds_left(elapsed, done=done, total=total, expected=expected) == left


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (90.0, 90.0),  # as foreseen
        (100.0, 90.0),  # a little later: it runs down all the same
        (115.0, 90.0),
        (120.0, 120.0),  # much later: more work came
        (80.0, 90.0),  # a little sooner
        (50.0, 70.0),  # sooner: half of the way
        (0.0, 45.0),
    ],
)
def test_the_time_shown_runs_down_and_changes_only_for_a_reason(
    estimate: float, shown: float
) -> None:
    assert settled(estimate, before=100.0, elapsed=10.0) == shown


def test_the_time_shown_never_rises_while_estimates_waver() -> None:
    shown = [60.0]
    for second in range(1, 60):
        wavering = (60.0 - second) * (1.1 if second % 2 else 0.9)
        shown.append(settled(wavering, before=shown[-1], elapsed=1.0))

    assert shown == sorted(shown, reverse=True)
    assert shown[-1] == pytest.approx(1.0, abs=1.0)
