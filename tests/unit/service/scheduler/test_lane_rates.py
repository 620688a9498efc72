"""The size of groups follows measured throughput, on devices whose curves are known."""

from collections.abc import Callable

import numpy as np
import pytest

from auditor.stagelog.digest import sha256
from service.scheduler.lane_rates import PROBE_EVERY, WORTH, LaneRates

MAX_LANES = 64
KEY = sha256(b"key")
GROUPS = 400

Curve = Callable[[int], float]
"""Seconds of a group of so many lanes."""


def rising(lanes: int) -> float:
    """A device that is never full: a group takes as long as one lane, nearly."""
    return 2.0 + 0.01 * lanes


def flat(lanes: int) -> float:
    """A device that is full with one lane."""
    return 0.5 * lanes


def falling(lanes: int) -> float:
    """Eight lanes fit the cache; beyond that every lane costs twice as much or more."""
    return 1.0 + 0.1 * lanes if lanes <= 8 else 0.4 * lanes


CURVES = pytest.mark.parametrize(("curve", "best"), [(rising, 64), (flat, 1), (falling, 8)])


def serve(
    rates: LaneRates, curve: Curve, *, groups: int, noise: float = 0.0, tracing: float = 30.0
) -> list[int]:
    """Let a queue that is always full be served and return the sizes of its groups.

    ``tracing`` is what the first group of every size takes longer.
    """
    generator = np.random.Generator(np.random.PCG64(0))
    sizes = []
    traced: set[int] = set()
    for _ in range(groups):
        lanes = rates.lanes_of(KEY)
        seconds = curve(lanes) * float(np.exp(noise * generator.standard_normal()))
        rates.learn(KEY, lanes=lanes, seconds=seconds + (0.0 if lanes in traced else tracing))
        traced.add(lanes)
        sizes.append(lanes)
    return sizes


def seconds_a_lane(curve: Curve, lanes: int) -> float:
    return curve(lanes) / lanes


def test_a_key_begins_with_the_largest_group() -> None:
    assert LaneRates(max_lanes=48).lanes_of(KEY) == 48


@CURVES
def test_sizes_settle_where_throughput_no_longer_rises(curve: Curve, best: int) -> None:
    sizes = serve(LaneRates(max_lanes=MAX_LANES), curve, groups=GROUPS)

    assert max(set(sizes[20:]), key=sizes[20:].count) == best
    assert sizes[20:].count(best) >= (1 - 2 / PROBE_EVERY) * len(sizes[20:])


@CURVES
def test_what_is_slow_is_left_after_a_few_groups(curve: Curve, best: int) -> None:
    """At most two groups in a row, and two in a hundred, are 1.2 times slower than the best."""
    sizes = serve(LaneRates(max_lanes=MAX_LANES), curve, groups=GROUPS)

    least = min(seconds_a_lane(curve, size) for size in (1, 2, 4, 8, 16, 32, 64))
    slow = [seconds_a_lane(curve, size) > 1.2 * least for size in sizes]
    # A key that begins too large halves its way down, two groups a size.
    settled = slow[2 * int(np.log2(MAX_LANES / best)) + 2 :]
    assert not any(all(settled[n : n + 3]) for n in range(len(settled)))
    assert sum(settled) <= 2 + len(settled) / PROBE_EVERY


@CURVES
def test_noise_costs_little(curve: Curve, best: int) -> None:
    sizes = serve(LaneRates(max_lanes=MAX_LANES), curve, groups=GROUPS, noise=0.1)

    took = sum(curve(size) for size in sizes[20:])
    lanes = sum(sizes[20:])
    assert took / lanes <= 1.15 * seconds_a_lane(curve, best)


def test_a_device_that_changes_is_followed_both_ways() -> None:
    rates = LaneRates(max_lanes=MAX_LANES)
    serve(rates, rising, groups=20)

    shrunk = serve(rates, flat, groups=20 * PROBE_EVERY, tracing=0.0)
    grown = serve(rates, rising, groups=20 * PROBE_EVERY, tracing=0.0)

    assert shrunk[-1] <= 2
    assert grown[-1] >= 32


def test_small_groups_say_nothing_about_larger_ones() -> None:
    rates = LaneRates(max_lanes=MAX_LANES)

    for lanes in (1, 1, 1, 2, 2, 33, 33, 33):
        rates.learn(KEY, lanes=lanes, seconds=1.0)

    assert rates.lanes_of(KEY) == MAX_LANES


def test_keys_do_not_teach_each_other() -> None:
    rates = LaneRates(max_lanes=MAX_LANES)
    serve(rates, flat, groups=50)

    assert rates.lanes_of(sha256(b"other")) == MAX_LANES


def test_a_size_within_a_few_per_cent_of_the_best_is_preferred_when_smaller() -> None:
    rates = LaneRates(max_lanes=2)

    for lanes, rate in ((2, 1.0), (2, 1.0), (1, WORTH + 0.01), (1, WORTH + 0.01)):
        rates.learn(KEY, lanes=lanes, seconds=100 * lanes / rate)

    assert rates.lanes_of(KEY) == 1
