"""Places on a plot: linear, inside, with zero, for whatever figures a report may hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.page.scale import MARGIN_PERCENT, scale_of

FIGURES = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6)


def test_ends_lie_on_the_margins_and_the_middle_between_them() -> None:
    scale = scale_of([-1.0, 3.0])

    found = [scale.percent(value) for value in (-1.0, 1.0, 3.0)]

    assert found == pytest.approx([MARGIN_PERCENT, 50.0, 100.0 - MARGIN_PERCENT])


def test_zero_is_shown_although_all_figures_are_far_from_it() -> None:
    assert scale_of([10.0, 12.0]).percent(0.0) == MARGIN_PERCENT


def test_ticks_are_round_and_hold_zero() -> None:
    assert scale_of([-0.02, 0.047]).ticks == pytest.approx((-0.02, 0.0, 0.02, 0.04))


@pytest.mark.parametrize(("largest", "decimals"), [(3.0, 0), (0.5, 1), (0.047, 2), (250.0, 0)])
def test_decimals_tell_ticks_apart(largest: float, decimals: int) -> None:
    assert scale_of([largest]).decimals == decimals


@given(figures=FIGURES)
def test_any_figures_lie_inside_in_order(figures: list[float]) -> None:
    scale = scale_of(figures)

    places = [scale.percent(value) for value in sorted(figures)]

    assert all(math.isfinite(place) for place in places)
    assert places == sorted(places)
    assert all(MARGIN_PERCENT - 1e-6 <= p <= 100 - MARGIN_PERCENT + 1e-6 for p in places)
    assert 0.0 in scale.ticks
    assert 2 <= len(scale.ticks) <= 6
