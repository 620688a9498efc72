"""From a sample to a value, an interval and a verdict (decisions, 4)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from auditor.effects import Verdict
from auditor.estimators.base import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures of one effect; None where something was not computed."""

    value: float
    low: float | None
    high: float | None
    spread: float | None
    deviation: float | None
    verdict: Verdict


def summarise(sample: Sample, *, confidence: float) -> Summary:
    r"""Return value, two-sided interval, spread, self-check and verdict of the mean effect.

    .. math:: h = \sqrt{(t_{K-1}\, s\, \sqrt{1 + 1/K})^2 + e^2}

    with ``s`` the standard deviation of the K replicas' mean effects and ``e`` the distance of the
    mean factual replay from the recorded run. An exact sample has an interval of no width; a single
    replica without exactness has none.

    Args:
        sample: Effects [K, N] and deviations [K, N].
        confidence: Two-sided, such as 0.9.

    Returns:
        The figures in the query's unit.
    """
    means = sample.effects.mean(axis=1)  # [K]
    value = float(means.mean())
    if sample.exact:
        return Summary(
            value=value,
            low=value,
            high=value,
            spread=None,
            deviation=None,
            verdict=Verdict.EFFECT if value != 0 else Verdict.NOT_RESOLVED,
        )
    replicas = len(means)
    if replicas < 2 or sample.deviations is None:
        return Summary(
            value=value,
            low=None,
            high=None,
            spread=None,
            deviation=None,
            verdict=Verdict.NOT_RESOLVED,
        )
    spread = float(means.std(ddof=1))
    deviation = float(sample.deviations.mean())
    quantile = float(stdtrit(replicas - 1, 0.5 + confidence / 2))
    half = float(np.hypot(quantile * spread * np.sqrt(1 + 1 / replicas), deviation))
    low, high = value - half, value + half
    return Summary(
        value=value,
        low=low,
        high=high,
        spread=spread,
        deviation=deviation,
        verdict=Verdict.WITHIN_REPLAY_SPREAD if low <= 0 <= high else Verdict.EFFECT,
    )
