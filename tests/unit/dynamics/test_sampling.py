"""Balanced sub-samples: exact sizes, balanced over a stage, random within a stratum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynamics.sampling import balanced_positions, strata_of
from auditor.plan.sampling import used_examples

KEY = (0, "log", 5, 0)


@st.composite
def stages(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return strata of a stage's examples and the offsets of its steps, of various sizes."""
    sizes = draw(st.lists(st.integers(1, 24), min_size=1, max_size=12))
    strata = np.random.default_rng(draw(st.integers(0, 2**16))).integers(
        draw(st.integers(1, 6)), size=sum(sizes)
    )
    return strata, np.cumsum([0, *sizes])


def draws(strata, offsets, *, fraction: float, key=KEY) -> list[np.ndarray]:
    return list(balanced_positions(strata, offsets, fraction=fraction, key=key))


@given(stage=stages(), fraction=st.floats(0.01, 1.0))
def test_every_step_has_its_number_of_positions_inside_its_batch(stage, fraction) -> None:
    strata, offsets = stage

    drawn = draws(strata, offsets, fraction=fraction)

    assert len(drawn) == len(offsets) - 1
    for positions, size in zip(drawn, np.diff(offsets).tolist(), strict=True):
        assert len(positions) == used_examples(size, fraction=fraction)
        assert len(set(positions.tolist())) == len(positions)
        assert positions.min() >= 0
        assert positions.max() < size


@given(stage=stages(), fraction=st.floats(0.1, 1.0))
def test_halves_of_a_draw_are_balanced_as_far_as_whole_examples_can_be(stage, fraction) -> None:
    strata, offsets = stage

    for begin, positions in zip(offsets, draws(strata, offsets, fraction=fraction), strict=False):
        own = strata[begin + positions]
        first, second = own[: len(own) // 2], own[len(own) // 2 :]
        counts = [np.bincount(half, minlength=6) for half in (first, second)]
        assert (np.abs(counts[0] - counts[1]) <= 1).all()


@given(
    seed=st.integers(0, 2**16),
    strata=st.integers(1, 5),
    size=st.sampled_from([12, 16, 24]),
    fraction=st.sampled_from([1 / 8, 1 / 4, 1 / 2]),
)
def test_totals_keep_to_their_shares_over_a_stage(seed, strata, size, fraction) -> None:
    # Batches hold a stratum by chance, and sometimes not at all.
    offsets = np.arange(0, 60 * size + 1, size)
    of_all = np.random.default_rng(seed).integers(strata, size=60 * size)

    drawn = draws(of_all, offsets, fraction=fraction)

    part = used_examples(size, fraction=fraction) / size
    owed = np.zeros(strata)
    for begin, positions in zip(offsets[:-1].tolist(), drawn, strict=True):
        batch = of_all[begin : begin + size]
        owed += part * np.bincount(batch, minlength=strata)
        owed -= np.bincount(batch[positions], minlength=strata)
        assert np.abs(owed).max() < 1.01  # uniform draws reach 4 to 10


def test_a_rare_stratum_has_its_turn() -> None:
    # 1 of 16 in each step and 2 of 16 drawn: uniform draws leave it out of 40 steps at p = 0.005,
    # whole numbers that forget what they owe at p = 1.
    strata = np.tile(np.array([1] + [0] * 15), 40)

    drawn = draws(strata, np.arange(0, 641, 16), fraction=1 / 8)

    assert sum(0 in positions for positions in drawn) == pytest.approx(40 / 8, abs=1)


def test_every_part_of_the_key_changes_the_draws() -> None:
    strata, offsets = np.zeros(128, dtype=np.int64), np.array([0, 64, 128])
    keys = [KEY, (1, "log", 5, 0), (0, "other", 5, 0), (0, "log", 7, 0), (0, "log", 5, 1)]

    found = {
        tuple(np.concatenate(draws(strata, offsets, fraction=0.5, key=key)).tolist())
        for key in keys
    }

    assert len(found) == len(keys)
    again = draws(strata, offsets, fraction=0.5)
    assert tuple(np.concatenate(again).tolist()) in found


def test_positions_of_equally_large_strata_are_drawn_uniformly() -> None:
    # 3,000 draws of 2 of 8, of two strata of 4: each position is used 750 times on average, with a
    # standard deviation of sqrt(3000 * 1/4 * 3/4) = 24; five of them are 119.
    counts = np.zeros(8)
    for replica in range(3000):
        (positions,) = draws(
            np.array([0, 1, 0, 1, 1, 0, 1, 0]),
            np.array([0, 8]),
            fraction=0.25,
            key=(0, "log", 0, replica),
        )
        counts[positions] += 1

    assert np.abs(counts - 750).max() < 119


def test_positions_of_unequal_strata_are_drawn_uniformly_over_a_stage() -> None:
    # Shares of 5 : 2 : 1 of 8 with 2 drawn; over 16 steps each stratum has its part to within one
    # example, within it each position is as likely: 400 * 16 / 4 = 1600 uses on average, with a
    # standard deviation of at most sqrt(6400 * 1/4 * 3/4) = 35. Rounding is the same in every
    # replica: it moves a total by at most 400.
    strata, steps = np.array([0, 0, 0, 0, 0, 1, 1, 2]), 16
    counts = np.zeros(8)
    for replica in range(400):
        drawn = draws(
            np.tile(strata, steps),
            np.arange(0, 8 * steps + 1, 8),
            fraction=0.25,
            key=(0, "log", 0, replica),
        )
        for positions in drawn:
            counts[positions] += 1

    totals = np.bincount(strata, weights=counts)
    assert totals == pytest.approx(400 * steps / 4 * np.array([5, 2, 1]), abs=400)
    for stratum in range(3):
        own = counts[strata == stratum]
        assert np.abs(own - own.mean()).max() < 5 * 35


@given(seed=st.integers(0, 2**16))
def test_draws_of_two_fractions_are_nested_within_a_stratum(seed) -> None:
    strata = np.random.default_rng(seed).integers(3, size=32)
    offsets = np.array([0, 32])

    (outer,) = draws(strata, offsets, fraction=0.5)
    (inner,) = draws(strata, offsets, fraction=0.25)

    for stratum in range(3):
        of_outer = set(outer[strata[outer] == stratum].tolist())
        of_inner = set(inner[strata[inner] == stratum].tolist())
        assert of_inner <= of_outer


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(0, 1)), min_size=1))
def test_strata_are_the_combinations_that_occur(rows) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]

    codes = strata_of(columns)

    assert sorted(set(codes.tolist())) == list(range(len(set(rows))))
    assert len(set(zip(rows, codes.tolist(), strict=True))) == len(set(rows))
