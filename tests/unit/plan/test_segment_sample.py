"""How many segments a sample holds, and how likely it holds a wrong one."""

import itertools

import pytest

from auditor.errors import DomainError
from auditor.plan.segment_sample import detection_probability, drawn_segments


@pytest.mark.parametrize(
    ("segments", "fraction", "drawn"), [(5, 0.2, 1), (5, 0.21, 2), (1, 0.01, 1), (10, 1.0, 10)]
)
def test_fraction_is_rounded_up(segments: int, fraction: float, drawn: int) -> None:
    assert drawn_segments(segments, fraction=fraction) == drawn


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_other_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(DomainError):
        drawn_segments(5, fraction=fraction)


@pytest.mark.parametrize("wrong", [1, 2, 3])
@pytest.mark.parametrize("drawn", range(1, 7))
def test_probability_is_the_share_of_samples_that_hold_a_wrong_one(drawn: int, wrong: int) -> None:
    samples = list(itertools.combinations(range(6), drawn))
    share = sum(min(sample) < wrong for sample in samples) / len(samples)

    assert detection_probability(6, drawn=drawn, wrong=wrong) == pytest.approx(share)
