"""Counter-based draws: nested sub-samples that depend on nothing but their key."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynamics.draws import generator_for, subsample
from auditor.plan.sampling import used_examples

KEY = (0, "log", 5, 0)
sizes = st.integers(1, 40)
fractions = st.floats(0.01, 1.0)


@given(size=sizes, small=fractions, large=fractions)
def test_subsamples_are_nested(size: int, small: float, large: float) -> None:
    small, large = sorted((small, large))

    inner = subsample(size, fraction=small, key=KEY)
    outer = subsample(size, fraction=large, key=KEY)

    assert set(inner.tolist()) <= set(outer.tolist())
    assert len(inner) == used_examples(size, fraction=small) >= 1


def test_subsample_is_the_first_b_of_a_random_order() -> None:
    order = np.argsort(generator_for("subsample", *KEY).random(9), kind="stable")

    assert subsample(9, fraction=0.5, key=KEY).tolist() == sorted(order[:4].tolist())


def test_whole_batch_keeps_its_order() -> None:
    assert subsample(7, fraction=1.0, key=KEY).tolist() == list(range(7))


def test_every_part_of_the_key_changes_the_sample() -> None:
    keys = [KEY, (1, "log", 5, 0), (0, "other", 5, 0), (0, "log", 6, 0), (0, "log", 5, 1)]

    samples = {tuple(subsample(64, fraction=0.5, key=key).tolist()) for key in keys}

    assert len(samples) == len(keys)


def test_positions_are_drawn_uniformly() -> None:
    # 4,000 draws of 2 of 8: each position is used 1,000 times on average with a standard deviation
    # of sqrt(4000 * 1/4 * 3/4) = 27; five of them are 137.
    counts = np.zeros(8)
    for step in range(4000):
        counts[subsample(8, fraction=0.25, key=(0, "log", step, 0))] += 1

    assert np.abs(counts - 1000).max() < 137


def test_purposes_have_streams_of_their_own() -> None:
    assert generator_for("a", 1).random() != generator_for("b", 1).random()
    assert generator_for("a", 12).random() != generator_for("a", 1, 2).random()
