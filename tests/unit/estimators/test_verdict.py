"""Verdicts, p-values and false discoveries."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from auditor.effects import Verdict
from auditor.estimators.base import Sample
from auditor.estimators.interval import summarise
from auditor.estimators.multiplicity import discoveries
from auditor.estimators.noise import NoiseSample, NoiseSpread, noise_spread
from auditor.estimators.verdict import verdict_of


def sample(*means: float, deviation: float = 0.0, resolution: float | None = None) -> Sample:
    effects = np.array([[mean, mean] for mean in means])
    return Sample(
        effects=effects,
        deviations=np.full_like(effects, deviation),
        resolution=None if resolution is None else np.full_like(effects, resolution),
    )


def spread(sd: float) -> NoiseSpread:
    return NoiseSpread(sd=sd, total=sd, orders=6, resolved=True)


@pytest.mark.parametrize("deviation", [0.0, 0.3])
def test_at_one_minus_p_the_interval_ends_at_zero(deviation):
    drawn = sample(1.0, 1.4, 0.5, 0.9, deviation=deviation)
    p = summarise(drawn, confidence=0.9).p_value

    found = summarise(drawn, confidence=1 - p)

    assert found.low == pytest.approx(0.0, abs=1e-9)


def test_p_value_is_that_of_the_t_test_of_a_new_draw():
    means = [1.0, 1.4, 0.5, 0.9]

    found = summarise(sample(*means), confidence=0.9)

    t = np.mean(means) / (np.std(means, ddof=1) * np.sqrt(1 + 1 / 4))
    assert found.p_value == pytest.approx(2 * stats.t.sf(t, 3))


def test_an_effect_within_its_fixed_error_has_p_value_one():
    assert summarise(sample(0.2, 0.3, deviation=1.0), confidence=0.9).p_value == 1.0


def test_resolution_widens_the_interval():
    plain = summarise(sample(1.0, 1.0), confidence=0.9)

    found = summarise(sample(1.0, 1.0, resolution=-0.25), confidence=0.9)

    assert plain.low == plain.high == 1.0
    assert (found.low, found.high) == pytest.approx((0.75, 1.25))
    assert found.resolution == pytest.approx(-0.25)


def test_nothing_that_moves_is_not_resolved():
    found = summarise(sample(0.0, 0.0, 0.0), confidence=0.9)

    assert found.verdict is Verdict.NOT_RESOLVED


@pytest.mark.parametrize(
    ("means", "discovered", "rerun", "expected"),
    [
        ((1.0, 1.01), True, None, Verdict.EFFECT),
        ((1.0, 1.1), True, None, Verdict.NOT_RESOLVED),
        ((1.0, -1.1), True, spread(0.01), Verdict.WITHIN_REPLAY_SPREAD),
        ((1.0, 1.01, 0.99), False, None, Verdict.NOT_RESOLVED),
        ((1.0, 1.01, 0.99), True, spread(0.1), Verdict.EFFECT),
        ((1.0, 1.01, 0.99), True, spread(0.6), Verdict.WITHIN_RERUN_NOISE),
        ((1.0, 1.01, 0.99), False, spread(0.6), Verdict.NOT_RESOLVED),
    ],
)
def test_verdicts(means, discovered, rerun, expected):
    summary = replace(summarise(sample(*means), confidence=0.9), discovered=discovered)

    found = verdict_of(summary, rerun=rerun, confidence=0.9)

    assert found is expected


@pytest.mark.parametrize(
    ("beyond", "expected"), [(0.99, Verdict.NOT_RESOLVED), (1.01, Verdict.EFFECT)]
)
def test_a_sign_is_called_where_an_interval_at_98_percent_excludes_zero(beyond, expected):
    scatter = np.array([-0.5, 0.0, 0.5])
    half = stats.t.ppf(0.99, 2) * 0.5 * np.sqrt(1 + 1 / 3)

    found = summarise(sample(*(scatter + beyond * half)), confidence=0.9)

    assert found.low is not None
    assert found.low > 0
    assert found.verdict is expected


def test_rerun_noise_begins_at_the_quantile_of_six_reruns():
    summary = summarise(sample(1.0, 1.01, 0.99), confidence=0.9)
    edge = 1.0 / stats.t.ppf(0.95, 5)

    inside = verdict_of(summary, rerun=spread(edge * 1.001), confidence=0.9)
    outside = verdict_of(summary, rerun=spread(edge * 0.999), confidence=0.9)

    assert inside is Verdict.WITHIN_RERUN_NOISE
    assert outside is Verdict.EFFECT


def test_discoveries_are_those_of_the_step_up_procedure():
    p_values = np.random.default_rng(0).uniform(size=60) ** 3
    ordered = np.sort(p_values)
    below = np.flatnonzero(ordered <= 0.1 * np.arange(1, 61) / 60)
    threshold = ordered[below[-1]]

    found = discoveries(p_values.tolist(), q=0.1)

    assert 0 < sum(found) < 60
    assert found == tuple(bool(p <= threshold) for p in p_values)


def test_false_discoveries_stay_below_their_rate():
    # 300 requests of 40 effects, of which 10 are real: the mean rate of false ones among the
    # discovered is at most 0.1 * 30/40; four standard errors (0.12 / sqrt(300)) above that.
    generator, rates = np.random.default_rng(2), []
    for _ in range(300):
        p_values = generator.uniform(size=40)
        p_values[:10] = generator.uniform(size=10) * 1e-3
        found = np.array(discoveries(p_values.tolist(), q=0.1))
        rates.append(found[10:].sum() / max(1, found.sum()))

    assert np.mean(rates) <= 0.075 + 0.028


def test_no_effects_have_no_discoveries():
    assert discoveries([], q=0.1) == ()


def test_noise_is_what_orders_add_to_sub_samples():
    found = noise_spread(
        NoiseSample(orders=np.array([1.0, 3.0, 5.0]), fixed=np.array([0.0, 1.0, 2.0]))
    )

    assert found.sd == pytest.approx(np.sqrt(4.0 - 1.0))
    assert found.resolved
    assert found.orders == 3


def test_noise_below_that_of_sub_samples_is_not_resolved():
    found = noise_spread(NoiseSample(orders=np.array([1.0, 1.5]), fixed=np.array([0.0, 2.0])))

    assert found.sd == 0.0
    assert not found.resolved


def test_corrected_noise_is_unbiased_in_variance():
    # Variance over orders 4, over sub-samples 1: the corrected variance is 4 on average; its
    # standard error over 4,000 draws of 6 and 8 is about 0.05, the bound four of those.
    generator, found = np.random.default_rng(3), []
    for _ in range(4000):
        orders = 2 * generator.normal(size=6) + generator.normal(size=6)
        found.append(noise_spread(NoiseSample(orders=orders, fixed=generator.normal(size=8))).sd)

    assert np.mean(np.square(found)) == pytest.approx(4.0, abs=0.25)
