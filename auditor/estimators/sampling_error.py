"""How far a mean over an evaluation set may be from that of the population it was drawn from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditor.estimators.base import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingError:
    """Standard error of a mean over examples, and the degrees of freedom of its estimate."""

    standard_error: float
    degrees: int


def sampling_error(
    differences: Floats, *, cluster: npt.NDArray[np.int64] | None = None
) -> SamplingError | None:
    r"""Return the standard error of the mean of paired differences over examples.

    Examples are taken as drawn independently, :math:`s / \sqrt N`, or in ``G`` clusters drawn
    independently, where

    .. math:: \frac{G}{G - 1} \frac{1}{N^2} \sum_g \Big(\sum_{i \in g} (d_i - \bar d)\Big)^2

    is the squared error. For jackknife values the first is the jackknife's own estimate.

    Args:
        differences: Of one example at two models each, [N].
        cluster: Equal for examples that were sampled together, [N].

    Returns:
        The error; None with fewer than two examples or clusters.

    References:
        Liang and Zeger (1986), doi 10.1093/biomet/73.1.13; Cameron and Miller (2015),
        doi 10.3368/jhr.50.2.317, with their finite-sample factor. Held to statsmodels' formula in
        unit/estimators/test_sampling_error.py.
    """
    residuals = differences - differences.mean()
    if cluster is not None:
        _, group = np.unique(cluster, return_inverse=True)
        residuals = np.bincount(group.reshape(-1), weights=residuals)  # [G]
    units = len(residuals)
    if units < 2:
        return None
    variance = units / (units - 1) * float(np.sum(residuals**2)) / len(differences) ** 2
    return SamplingError(standard_error=float(np.sqrt(variance)), degrees=units - 1)
