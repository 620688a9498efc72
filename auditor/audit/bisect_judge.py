"""Is a change outside of what drawing the same stage's batches anew would do?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from auditor.audit.bisect_finding import Explanation, Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An explained difference with its interval, and whether it is outside the noise."""

    low: float
    high: float
    noise: float
    outside: bool


def interval_of(
    explained: float,
    draws: NDArray[np.float64],
    *,
    inflation: float,
    confidence: float,
    candidates: int,
) -> Interval:
    r"""Return the interval of a difference between two draws of a stage, and its verdict.

    Where A's and B's stage differ by nothing but the draw of their batches, gamma(B) and gamma(B
    with A's part) are two draws of one distribution with the standard deviation s of the given
    ones, so their difference has :math:`s \sqrt{2}`:

    .. math:: h = t_{R-1}\, s\, \sqrt{2}

    The verdict is for all candidates together (Bonferroni), the interval for this one.

    Args:
        explained: gamma(B) - gamma(B with A's part).
        draws: gamma for R draws of the stage's batches, [R].
        inflation: Factor on the variance of the draws.
        confidence: Two-sided, such as 0.9.
        candidates: How many differences are judged.
    """
    noise = float(np.sqrt(inflation) * draws.std(ddof=1))
    freedom = len(draws) - 1
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * noise * np.sqrt(2)
    joint = 1 - (1 - confidence) / candidates
    bound = float(stdtrit(freedom, 0.5 + joint / 2)) * noise * np.sqrt(2)
    return Interval(
        low=explained - half,
        high=explained + half,
        noise=noise,
        outside=abs(explained) > bound,
    )


def verdict_of(interval: Interval, *, share: float | None, wanted: float) -> str:
    """Return what may be said of one difference; at least the wanted share must be explained."""
    if not interval.outside:
        return "within the noise"
    return "this change did it" if share is not None and share >= wanted else "contributes"


def cause_of(explanations: Sequence[Explanation]) -> int | None:
    """Return the position of the change that did it, or None.

    Of several, the narrowest: data or settings before a whole stage; then the one that explains
    most.
    """
    named = [i for i, one in enumerate(explanations) if one.verdict == "this change did it"]
    return min(
        named,
        key=lambda i: (explanations[i].part is Part.STAGE, -abs(explanations[i].explained or 0.0)),
        default=None,
    )
