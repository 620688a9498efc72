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
    # Written out: importing scipy.stats takes longer than planning a small audit.
    ranked = np.sort(np.asarray(p_values))
    small = ranked <= q * np.arange(1, len(ranked) + 1) / len(ranked)
    if not small.any():
        return (False,) * len(p_values)
    largest = ranked[np.flatnonzero(small)[-1]]
    return tuple(bool(p <= largest) for p in p_values)
