"""From a sample to a value, an interval and a verdict (decisions, 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from auditor.effects import Verdict
from auditor.estimators.base import Sample
from auditor.estimators.calibration import (
    DEVIATION_FACTOR,
    POOLED_DEGREES,
    POOLED_FROM,
    RESOLUTION_FACTOR,
    SIGN_LEVEL,
    SINGLE_DEGREES,
    SINGLE_FACTOR,
)
from auditor.estimators.sampling_error import sampling_error


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures of one effect; None where something was not computed.

    Attributes:
        value: The mean effect; None where the computation diverges.
        low: Lower end of the interval for the effect on these examples.
        high: Upper end.
        spread: Standard deviation of the replicas' mean effects.
        deviation: Distance of the mean factual replay from the recorded run.
        resolution: How much the figure moves from half the examples a step.
        sampling: Standard error of the mean over examples.
        population: The interval for the population that the examples were drawn from.
        p_value: At which confidence the interval would end at zero, from 1.
        verdict: What the interval allows to say.
        exact: Whether the figure equals exact retraining by construction.
        discovered: False where control of false discoveries among many effects drops this one.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    deviation: float | None = None
    resolution: float | None = None
    sampling: float | None = None
    population: tuple[float, float] | None = None
    p_value: float | None = None
    verdict: Verdict
    exact: bool = False
    discovered: bool = True


def summarise(
    sample: Sample, *, confidence: float, cluster: npt.NDArray[np.int64] | None = None
) -> Summary:
    r"""Return value, two-sided intervals, their parts and the verdict of the mean effect.

    .. math:: h = \sqrt{(t_{K-1}\, s\, \sqrt{1 + 1/K})^2 + e^2 + g^2}

    with ``s`` the standard deviation of the K replicas' mean effects, ``e`` the distance of the
    mean factual replay from the recorded run, and ``g`` what the figure moves between two
    resolutions where the estimator has two. A single replica at two resolutions has no spread:
    there :func:`error_scale` is the scale of a Student's t, see :func:`_of_one_replica`. An exact
    sample has an interval of no width; a single replica at one resolution has none.

    An interval that excludes zero is an effect where it would at 1 - ``SIGN_LEVEL`` too, so that
    its sign can be relied on; between the two it is not resolved.

    That interval is about *these* examples. The one for the population they were drawn from adds
    :math:`t_{N-1}` times the :func:`~auditor.estimators.sampling_error.sampling_error` in the same
    way.

    Args:
        sample: Effects [K, N] and the parts of the error that the estimator knows.
        confidence: Two-sided, such as 0.9.
        cluster: Equal for examples that were sampled together, [N].

    Returns:
        The figures in the query's unit.
    """
    means = sample.effects.mean(axis=1)  # [K]
    value = float(means.mean())
    sampled = sampling_error(sample.effects.mean(axis=0), cluster=cluster)
    sampling = None if sampled is None else sampled.standard_error
    around = 0.0 if sampled is None else _quantile(confidence, sampled.degrees) * (sampling or 0.0)
    replicas = len(means)
    if sample.exact:
        return Summary(
            value=value,
            low=value,
            high=value,
            sampling=sampling,
            population=None if sampled is None else (value - around, value + around),
            verdict=Verdict.EFFECT if value != 0 else Verdict.NOT_RESOLVED,
            exact=True,
        )
    one = replicas < 2
    if sample.deviations is None or (one and sample.resolution is None):
        return Summary(value=value, sampling=sampling, verdict=Verdict.NOT_RESOLVED)
    spread = None if one else float(means.std(ddof=1))
    deviation = float(sample.deviations.mean())
    resolution = None if sample.resolution is None else float(sample.resolution.mean())
    fixed = error_scale(sample) or 0.0
    if spread is None:
        random, degrees = _of_one_replica(fixed, sample.others)
        fixed = 0.0
    else:
        random, degrees = spread * float(np.sqrt(1 + 1 / replicas)), replicas - 1
    half = float(np.hypot(_quantile(confidence, degrees) * random, fixed))
    whole = float(np.hypot(half, around))
    p_value = _p_value(value, random=random, fixed=fixed, degrees=degrees)
    return Summary(
        value=value,
        low=value - half,
        high=value + half,
        spread=spread,
        deviation=deviation,
        resolution=resolution,
        sampling=sampling,
        population=None if sampled is None else (value - whole, value + whole),
        p_value=p_value,
        verdict=_verdict(value, half=half, p_value=p_value),
    )


def error_scale(sample: Sample) -> float | None:
    r"""Return :math:`\sqrt{e^2 + g^2}`, what a sample shows of its own error; None without e."""
    if sample.deviations is None:
        return None
    moved = 0.0 if sample.resolution is None else float(sample.resolution.mean())
    deviation = float(sample.deviations.mean())
    return float(np.hypot(DEVIATION_FACTOR * deviation, RESOLUTION_FACTOR * moved))


def _of_one_replica(own: float, others: Sequence[float]) -> tuple[float, int]:
    r"""Return the scale of one replica's error and its degrees of freedom.

    Its two distances are all that it shows of its error, and both can be small by chance. Where
    enough effects on the same query have errors of their own, theirs are taken into account,
    :math:`s^2 = (d\, \overline{s_j^2} + 2 s_i^2) / (d + 2)` with d = ``POOLED_DEGREES``; else the
    scale is doubled.

    References:
        Smyth (2004), doi 10.2202/1544-6115.1027: moderated variances of many parallel effects.
    """
    if len(others) < POOLED_FROM:
        return SINGLE_FACTOR * own, SINGLE_DEGREES
    degrees = POOLED_DEGREES + 2
    square = POOLED_DEGREES * float(np.mean(np.square(others))) + 2 * own**2
    return float(np.sqrt(square / degrees)), degrees


def _verdict(value: float, *, half: float, p_value: float) -> Verdict:
    if value == half == 0:
        return Verdict.NOT_RESOLVED  # nothing moved: there is no spread to be within
    if abs(value) <= half:
        return Verdict.WITHIN_REPLAY_SPREAD
    return Verdict.EFFECT if p_value <= SIGN_LEVEL else Verdict.NOT_RESOLVED


def _quantile(confidence: float, degrees: int) -> float:
    """Return Student's t of a two-sided interval."""
    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _p_value(value: float, *, random: float, fixed: float, degrees: int) -> float:
    """Return 1 - the confidence at which the interval around ``value`` ends at zero."""
    if abs(value) <= fixed:
        return 1.0
    if random == 0:
        return 0.0
    t = float(np.sqrt(value**2 - fixed**2)) / random
    return 2 * float(stdtr(degrees, -t))
