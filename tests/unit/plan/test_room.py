"""Tests of how many lanes fit: what is fixed counts once for each log, a lane every time."""

from math import inf

import pytest

from auditor.plan.room import Needed, Together


def test_what_is_fixed_counts_once_for_each_log() -> None:
    group = Together()
    for log in "xyx":
        group = group.plus(log, fixed=100, lane=50)

    assert group.needed == Needed(fixed=200, lane=50)
    assert group.lanes == 3
    assert group.fits(350)
    assert not group.fits(349)


def test_a_group_counts_its_largest_lane_and_the_most_that_a_log_shares() -> None:
    group = Together().plus("x", fixed=100, lane=50).plus("x", fixed=120, lane=30)

    assert group.needed == Needed(fixed=120, lane=50)


def test_one_lane_fits_whatever_it_needs() -> None:
    assert Together().plus("x", fixed=100, lane=50).fits(0)
    assert Needed(fixed=100, lane=50).lanes_in(0) == 1


@pytest.mark.parametrize(("room", "lanes"), [(250.0, 3), (249.0, 2), (inf, None)])
def test_lanes_of_one_log_fill_the_room(room: float, lanes: int | None) -> None:
    assert Needed(fixed=100, lane=50).lanes_in(room) == lanes


def test_lanes_that_need_nothing_are_not_limited() -> None:
    assert Needed(fixed=100, lane=0).lanes_in(10) is None
