"""Replays at two resolutions: pairing with the factual run and extrapolation of the mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.estimators.two_resolutions import Replays, pairing_weight, read_two_resolutions

EXAMPLES = 6


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def replays(counterfactual: np.ndarray, factual: np.ndarray) -> Replays:
    return Replays(counterfactual=counterfactual, factual=factual)


def pair(seed: int, *, shared: float, replicas: int = 2) -> tuple[Replays, Replays]:
    """Return fine and coarse replays whose counterfactual errs ``shared`` times as the factual."""
    errors = normal(seed, 2, replicas, EXAMPLES)
    made = [replays(5.0 + shared * error, 2.0 + error) for error in errors]
    return made[0], made[1]


@given(st.integers(0, 2**16), st.floats(-3, 3))
def test_weight_is_the_shared_part_between_0_and_1(seed: int, shared: float) -> None:
    assert pairing_weight(*pair(seed, shared=shared)) == pytest.approx(min(max(shared, 0), 1))


def test_weight_is_1_where_both_runs_err_alike() -> None:
    assert pairing_weight(*pair(0, shared=1.0)) == pytest.approx(1.0)


def test_weight_is_0_where_the_runs_have_nothing_in_common() -> None:
    factual = np.array([[1.0, -1.0, 1.0, -1.0]])
    unrelated = np.array([[1.0, 1.0, -1.0, -1.0]])
    zero = np.zeros((1, 4))

    weight = pairing_weight(replays(zero, zero), replays(unrelated, factual))

    assert weight == 0.0


def test_weight_is_0_without_power_and_without_factual_replays() -> None:
    fine, coarse = normal(0, 2, 1, EXAMPLES)
    same, none = np.ones((1, EXAMPLES)), np.empty((0, EXAMPLES))

    assert pairing_weight(replays(fine, same), replays(coarse, same)) == 0.0
    assert pairing_weight(replays(fine, none), replays(fine, none)) == 0.0


def test_shared_errors_cancel_example_by_example() -> None:
    recorded = np.full(EXAMPLES, 2.0)
    fine, coarse = pair(1, shared=1.0)

    sample = read_two_resolutions(recorded, fine, coarse, fraction=0.25)

    np.testing.assert_allclose(sample.effects, np.full((2, EXAMPLES), 2.0 - 5.0), atol=1e-12)
    np.testing.assert_allclose(sample.resolution, 0.0, atol=1e-12)


@given(
    seed=st.integers(0, 2**16),
    whole=st.sampled_from([8, 64]),
    part=st.sampled_from([1 / 8, 1 / 4, 1 / 2]),
    shared=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_bias_proportional_to_heat_leaves_no_trace_in_the_mean(seed, whole, part, shared) -> None:
    # e_b = e + a (1/b - 1/B) for the mean of either run, with an a of its own.
    recorded, truth = normal(seed, EXAMPLES), normal(seed + 1, EXAMPLES)
    bias = normal(seed + 2, EXAMPLES)
    of_counterfactual = shared * bias + normal(seed + 3, EXAMPLES)

    def at(used: float) -> Replays:
        heat = 1 / used - 1 / whole
        return replays(
            (recorded - truth + heat * of_counterfactual)[None], (recorded + heat * bias)[None]
        )

    sample = read_two_resolutions(recorded, at(part * whole), at(part * whole / 2), fraction=part)

    assert sample.effects.mean() == pytest.approx(truth.mean(), abs=1e-12)


@given(st.integers(0, 2**16), st.integers(1, 4), st.floats(0.01, 0.99))
def test_only_the_mean_is_extrapolated(seed: int, replicas: int, fraction: float) -> None:
    recorded = normal(seed, EXAMPLES)
    fine, coarse = (
        replays(*normal(seed + i, 2, replicas, EXAMPLES)) for i in (1, 2)
    )  # fmt: skip

    sample = read_two_resolutions(recorded, fine, coarse, fraction=fraction)

    assert sample.deviations is not None
    assert sample.resolution is not None
    shape = (replicas, EXAMPLES)
    assert sample.effects.shape == sample.deviations.shape == sample.resolution.shape == shape
    assert not sample.exact
    weight = pairing_weight(fine, coarse)
    at_fine = recorded + weight * (fine.factual - recorded) - fine.counterfactual
    at_coarse = recorded + weight * (coarse.factual - recorded) - coarse.counterfactual
    np.testing.assert_allclose(sample.deviations, recorded - fine.factual)
    np.testing.assert_allclose(sample.resolution, at_fine - at_coarse)
    moved = sample.effects - at_fine
    np.testing.assert_allclose(moved, moved.flat[0], atol=1e-12)
    assert moved.flat[0] == pytest.approx((1 - fraction) * (at_fine - at_coarse).mean(), abs=1e-12)
