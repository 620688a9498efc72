"""Balanced sub-samples: which examples of each step a replay takes its gradients on.

Fewer examples per gradient make a trajectory hotter, and most of that heat comes from classes and
sources that are over- or underrepresented in a step by chance. So every step takes from each
stratum as many examples as it is owed: its part of the batch, plus what earlier steps of the stage
left it short of. Within a stratum the draw is random.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from auditor.dynamics.draws import generator_for
from auditor.plan.sampling import used_examples

Integers = NDArray[np.int64]

MAX_STRATA = 1000
"""Distinct values beyond which a column is no category."""


def strata_of(columns: Sequence[Integers]) -> Integers:
    """Return one code per combination of values that occurs, [n].

    Args:
        columns: Codes of each column, [n] each; at least one.
    """
    codes = np.unique(columns[0], return_inverse=True)[1]
    for column in columns[1:]:
        own = np.unique(column, return_inverse=True)[1]
        codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)[1]
    return codes.astype(np.int64)


def balanced_positions(
    strata: Integers, offsets: Integers, *, fraction: float, key: tuple[int, str, int, int]
) -> Iterator[Integers]:
    r"""Yield which positions of each step's batch are used: b = ``used_examples`` of them.

    With :math:`n_c` examples of stratum c in a batch of B, its share is
    :math:`s_c = n_c b / B + d_c`, with :math:`d_c` what earlier steps still owe it. It gets
    :math:`k_c`, the share rounded down or up so that :math:`\sum_c k_c = b`, and
    :math:`d_c \leftarrow s_c - k_c`. The :math:`k_c` examples are the first of a random order that
    depends on the key and the step only: for one key, the draws of two fractions are nested within
    each stratum as far as their counts are.

    The first and the second half of the positions are balanced too, as far as whole examples can
    be: from their difference follows how noisy balanced draws are.

    Args:
        strata: Stratum of every example of the stage, in the order of its steps, [n].
        offsets: Step k holds [offsets[k], offsets[k + 1]).
        fraction: b / B, in (0, 1].
        key: Seed, log digest, number of the first step and replica.
    """
    seed, log_digest, first_step, replica = key
    owed = np.zeros(int(strata.max(initial=0)) + 1)
    for step, (begin, end) in enumerate(pairwise(offsets.tolist())):
        own = strata[begin:end]
        size = len(own)
        used = used_examples(size, fraction=fraction)
        generator = generator_for("subsample", seed, log_digest, first_step + step, replica)
        order = generator.random(size)
        present = np.bincount(own, minlength=len(owed))
        owed += present * (used / size)
        counts = _rounded(owed, present, total=used, tie=generator)
        owed -= counts
        yield _alternating(_first_of_each(own, order, counts))


def _rounded(
    share: NDArray[np.float64], present: Integers, *, total: int, tie: np.random.Generator
) -> Integers:
    """Return whole numbers near the shares that sum to ``total``, at most what is present."""
    counts = np.clip(np.floor(share), 0, present).astype(np.int64)
    while (short := total - int(counts.sum())) != 0:
        room = counts < present if short > 0 else counts > 0
        claim = (share - counts) * (1 if short > 0 else -1)
        claim = np.where(room, claim + 1e-9 * tie.random(len(claim)), -np.inf)
        changed = np.argsort(-claim, kind="stable")[: min(abs(short), int(room.sum()))]
        counts[changed] += 1 if short > 0 else -1
    return counts


def _alternating(positions: Integers) -> Integers:
    """Return positions that are ordered by stratum as every second of them, then the others."""
    return np.concatenate([positions[1::2], positions[0::2]])


def _first_of_each(
    strata: Integers, order: NDArray[np.float64], counts: Integers
) -> NDArray[np.int64]:
    """Return the positions whose rank by ``order`` within their stratum is below its count.

    By stratum, and within it by ``order``.
    """
    ranked = np.lexsort((order, strata))
    sorted_strata = strata[ranked]
    starts = np.searchsorted(sorted_strata, sorted_strata)
    return ranked[np.arange(len(ranked)) - starts < counts[sorted_strata]]
