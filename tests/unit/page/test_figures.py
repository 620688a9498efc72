"""Numbers as the page writes them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.page.figures import ABSENT, decimals_for, percent, plain, signed, size

FIGURES = st.floats(-1e300, 1e300)  # beyond, four digits may round to no double


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.25, 4, "+0.2500"),
        (-3.2076, 3, "−3.208"),
        (-0.00001, 3, "0.000"),
        (0.0, 2, "0.00"),
        (None, 3, ABSENT),
        (-2.5e12, 0, "−2.500e+12"),
        (1e-12, 9, "+1.000e-12".replace("e-", "e−")),
        (1e-12, 3, "0.000"),
    ],
)
def test_signed_shows_a_difference(value: float | None, decimals: int, text: str) -> None:
    assert signed(value, decimals=decimals) == text


@pytest.mark.parametrize(
    ("largest", "decimals"), [(0.0, 3), (3.2, 3), (0.034, 5), (250.0, 1), (12345.0, 0), (1e-30, 9)]
)
def test_decimals_give_the_largest_four_digits(largest: float, decimals: int) -> None:
    assert decimals_for([largest, -largest / 7]) == decimals


def test_size_has_a_sign_only_below_zero() -> None:
    assert (size(0.5, decimals=1), size(-0.5, decimals=1)) == ("0.5", "−0.5")


def test_percent_and_plain_keep_four_digits() -> None:
    assert (percent(0.9), percent(0.999), plain(0.0123456), plain(None)) == (
        "90 %",
        "99.9 %",
        "0.01235",
        ABSENT,
    )


@given(value=FIGURES)
def test_what_is_shown_is_the_figure_rounded(value: float) -> None:
    decimals = decimals_for([value])

    shown = float(signed(value, decimals=decimals).replace("−", "-"))

    assert math.isclose(shown, value, rel_tol=5e-4, abs_tol=0.5 * 10.0**-decimals)
    assert shown == 0 or (shown > 0) == (value > 0)
