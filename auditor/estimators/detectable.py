"""The smallest effect that replays like those at hand would call an effect."""

from auditor.estimators.base import Sample
from auditor.estimators.calibration import SIGN_LEVEL
from auditor.estimators.interval import summarise

POWER = 0.8
"""How often an effect of the smallest detectable size is called one; Cohen's (1988) convention."""


def detectable_effect(sample: Sample, *, confidence: float) -> float | None:
    r"""Return the minimum detectable effect of replays with the errors of a sample.

    .. math:: h(c) + h(2 \cdot 0.8 - 1)

    with the half width ``h`` of :func:`~auditor.estimators.interval.summarise` at two confidences,
    c the one at which a sign is called: an estimate falls short of an effect by more than the
    second in one of five cases, and else the interval around it excludes zero. From spread alone
    this is (t_{K-1, c} + t_{K-1, 0.8}) times the standard error of a prediction.

    Args:
        sample: Of an audit with the same log, query and settings.
        confidence: Two-sided, such as 0.9.

    Returns:
        The effect in the query's unit: 0 for an exact sample, None for one without an interval.
    """
    called = max(confidence, 1 - SIGN_LEVEL)
    halves = [_half(sample, confidence=one) for one in (called, 2 * POWER - 1)]
    known = [half for half in halves if half is not None]
    return sum(known) if len(known) == len(halves) else None


def _half(sample: Sample, *, confidence: float) -> float | None:
    found = summarise(sample, confidence=confidence)
    return None if found.low is None or found.high is None else (found.high - found.low) / 2
