"""False discoveries among many effects."""

from collections.abc import Sequence

import numpy as np


def discoveries(p_values: Sequence[float], *, q: float) -> tuple[bool, ...]:
    """Return which effects are discovered when at most a part ``q`` of those may be false.

    The expected part of false ones among the discovered is at most ``q`` for independent effects
    and for positively dependent ones, as effects of the same counterfactuals are.

    Args:
        p_values: One an effect, in [0, 1].
        q: Tolerated rate of false discoveries.

    References:
        Benjamini and Hochberg (1995), doi 10.1111/j.2517-6161.1995.tb02031.x; Benjamini and
        Yekutieli (2001), doi 10.1214/aos/1013699998, on dependence.
    """
    if not p_values:
        return ()
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - slow, and few audits need it

    adjusted = false_discovery_control(np.asarray(p_values), method="bh")
    return tuple(bool(p <= q) for p in adjusted)
