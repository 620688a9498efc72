"""Sampling errors against statsmodels' formulas, written out, and their coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from auditor.estimators.base import Sample
from auditor.estimators.interval import summarise
from auditor.estimators.sampling_error import sampling_error


def cluster_robust(values: np.ndarray, cluster: np.ndarray) -> float:
    """As statsmodels computes OLS(values, 1).fit(cov_type="cluster") with its correction."""
    n, groups = len(values), np.unique(cluster)
    design = np.ones((n, 1))
    residuals = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    bread = np.linalg.inv(design.T @ design)
    scores = [design[cluster == g].T @ residuals[cluster == g] for g in groups]
    meat = sum(np.outer(score, score) for score in scores)
    correction = len(groups) / (len(groups) - 1) * (n - 1) / (n - design.shape[1])
    return float(np.sqrt((correction * bread @ meat @ bread)[0, 0]))


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(2, 6))
def test_clusters_as_statsmodels(seed, n, groups):
    generator = np.random.default_rng(seed)
    values, cluster = generator.normal(size=n), generator.integers(groups, size=n)
    cluster[:2] = (0, 1)

    found = sampling_error(values, cluster=cluster)

    assert found is not None
    assert found.standard_error == pytest.approx(cluster_robust(values, cluster), rel=1e-10)
    assert found.degrees == len(np.unique(cluster)) - 1


def test_without_clusters_it_is_the_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=30)

    found = sampling_error(values)

    assert found is not None
    assert found.standard_error == pytest.approx(stats.sem(values))
    assert sampling_error(values, cluster=np.arange(30)) == found


def test_one_example_or_one_cluster_has_none():
    assert sampling_error(np.array([1.0])) is None
    assert sampling_error(np.array([1.0, 2.0]), cluster=np.array([7, 7])) is None


def population_coverage(*, clustered: bool) -> float:
    """Return how often the interval for the population holds its mean, 0.3, in 2,000 draws."""
    generator, inside = np.random.default_rng(1), 0
    cluster = np.repeat(np.arange(20), 5)
    for _ in range(2000):
        examples = 0.3 + generator.normal(size=20)[cluster] + 0.5 * generator.normal(size=100)
        replicas = examples + 0.05 * generator.normal(size=(8, 1))
        sample = Sample(effects=replicas, deviations=np.zeros_like(replicas))
        found = summarise(sample, confidence=0.9, cluster=cluster if clustered else None)
        assert found.population is not None
        low, high = found.population
        inside += low <= 0.3 <= high
    return inside / 2000


def test_population_interval_covers_when_clusters_are_named():
    # Standard error of 2,000 Bernoulli trials at 0.9: 0.7 %; four of those, and the replicas'
    # part, which is small here, may only widen it.
    assert population_coverage(clustered=True) == pytest.approx(0.91, abs=0.04)


def test_population_interval_is_too_narrow_when_they_are_not():
    assert population_coverage(clustered=False) < 0.75
