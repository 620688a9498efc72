r"""Shapley values over stages, from the effects of skipping every set of them.

.. math:: \phi_i = \sum_{R \subseteq P \setminus i}
    \frac{|R|!\,(n - 1 - |R|)!}{n!}\,\bigl(e(R \cup i) - e(R)\bigr)

with e(R) = gamma(all executed) - gamma(R skipped). They sum to e(P) exactly: a convention for
sharing it out, not a causal finding.

References:
    Shapley (1953), A value for n-person games.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from math import factorial

import numpy as np

from auditor.estimators.base import Sample

Coalition = frozenset[str]


def coalitions(players: Sequence[str]) -> list[Coalition]:
    """Return every set of players but the empty one, smaller ones first."""
    sizes = range(1, len(players) + 1)
    return [frozenset(c) for c in chain.from_iterable(combinations(players, n) for n in sizes)]


def shapley_values(
    players: Sequence[str], skipped: Mapping[Coalition, Sample]
) -> dict[str, Sample]:
    """Return the Shapley value of every player.

    An error of the estimator is at most that of its worst trajectory: the deviation of a value is
    the largest, in its mean, of all deviations.

    Args:
        players: Stages.
        skipped: What skipping each of :func:`coalitions` does, all on the same examples.

    Returns:
        By player; effects [K, N], K the largest number of replicas.
    """
    replicas = max(len(sample.effects) for sample in skipped.values())
    examples = next(iter(skipped.values())).effects.shape[1]
    nothing = np.zeros((replicas, examples))
    exact = all(sample.exact for sample in skipped.values())
    known = [sample.deviations for sample in skipped.values() if sample.deviations is not None]
    deviations = max(known, key=lambda found: abs(found.mean())) if known and not exact else None
    n = len(players)
    found = {}
    for player in players:
        value = nothing
        for without in [frozenset[str](), *coalitions([p for p in players if p != player])]:
            weight = factorial(len(without)) * factorial(n - 1 - len(without)) / factorial(n)
            before = skipped[without].effects if without else nothing
            value = value + weight * (skipped[without | {player}].effects - before)
        found[player] = Sample(effects=value, deviations=deviations, exact=exact)
    return found
