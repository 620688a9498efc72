"""The interval of decisions 4, against independent arithmetic."""

import numpy as np
import pytest
from scipy import stats

from auditor.effects import Verdict
from auditor.estimators.base import Sample
from auditor.estimators.interval import summarise


def sample(*means: float, deviation: float = 0.0) -> Sample:
    effects = np.array([[mean - 1.0, mean + 1.0] for mean in means])
    return Sample(effects=effects, deviations=np.full_like(effects, deviation))


def test_interval_combines_spread_and_self_check():
    found = summarise(sample(1.0, 2.0, 3.0, 6.0, deviation=0.5), confidence=0.9)

    spread = np.std([1.0, 2.0, 3.0, 6.0], ddof=1)
    half = np.sqrt((stats.t.ppf(0.95, 3) * spread * np.sqrt(1.25)) ** 2 + 0.25)
    assert found.value == pytest.approx(3.0)
    assert found.spread == pytest.approx(spread)
    assert found.deviation == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx((3.0 - half, 3.0 + half))


def test_interval_covers_a_new_draw_at_its_nominal_rate():
    # A new draw of the same distribution lies in a 90 % prediction interval nine times in ten;
    # the standard error of 4,000 Bernoulli trials is 0.5 %, the bound four of those.
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        *replicas, truth = generator.normal(size=9)
        found = summarise(sample(*replicas), confidence=0.9)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= truth <= found.high

    assert inside / 4000 == pytest.approx(0.9, abs=0.02)


def test_verdict_is_effect_only_when_the_interval_excludes_zero():
    assert summarise(sample(1.0, 1.1, 0.9), confidence=0.9).verdict is Verdict.EFFECT
    assert summarise(sample(1.0, -1.1, 0.2), confidence=0.9).verdict is Verdict.WITHIN_REPLAY_SPREAD
    assert (
        summarise(sample(1.0, 1.1, 0.9, deviation=2.0), confidence=0.9).verdict
        is Verdict.WITHIN_REPLAY_SPREAD
    )


def test_exact_samples_have_an_interval_without_width():
    found = summarise(Sample(effects=np.array([[1.0, 2.0]]), exact=True), confidence=0.9)

    assert found.low == found.high == found.value == 1.5
    assert found.verdict is Verdict.EFFECT


def test_a_single_replica_has_no_interval():
    found = summarise(Sample(effects=np.array([[1.0, 2.0]])), confidence=0.9)

    assert found.low is None
    assert found.high is None
    assert found.verdict is Verdict.NOT_RESOLVED


def one_replica(value: float, *, deviation: float, others: tuple[float, ...] = ()) -> Sample:
    effects = np.array([[value - 1.0, value + 1.0]])
    return Sample(
        effects=effects,
        deviations=np.full_like(effects, 0.6 * deviation),
        resolution=np.full_like(effects, 0.8 * deviation),
        others=others,
    )


def test_errors_of_other_effects_moderate_that_of_one():
    found = summarise(one_replica(5.0, deviation=0.1, others=(1.0, 1.0, 2.0, 2.0)), confidence=0.9)

    scale = np.sqrt((4 * np.mean([1.0, 1.0, 4.0, 4.0]) + 2 * 0.1**2) / 6)
    assert found.high == pytest.approx(5.0 + stats.t.ppf(0.95, 6) * scale)


def test_few_other_errors_do_not_count():
    alone = summarise(one_replica(5.0, deviation=0.1), confidence=0.9)
    found = summarise(one_replica(5.0, deviation=0.1, others=(9.0, 9.0, 9.0)), confidence=0.9)

    assert alone.high == pytest.approx(5.0 + stats.t.ppf(0.95, 3) * 2 * 0.1)
    assert found == alone


def test_moderated_intervals_cover_at_their_nominal_rate_where_errors_are_alike():
    generator = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        scales = np.hypot(*generator.normal(size=(2, 9))) / np.sqrt(2)
        truth = generator.normal()
        found = summarise(
            one_replica(
                truth + generator.normal(), deviation=float(scales[0]), others=tuple(scales[1:])
            ),
            confidence=0.9,
        )
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= truth <= found.high

    assert 0.85 <= inside / 2000 <= 0.95


def test_probe_is_the_paired_difference():
    treated, control = sample(3.0, 5.0, deviation=0.5), sample(1.0, 4.0, deviation=0.2)

    difference = treated.minus(control)

    assert difference.effects.mean(axis=1) == pytest.approx([2.0, 1.0])
    assert difference.deviations is not None
    assert difference.deviations.mean() == pytest.approx(0.3)
