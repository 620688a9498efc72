"""Metrics as plain Python says them, one example after the other; the truth for faster code."""

import math
from collections.abc import Callable, Sequence

import numpy as np


def plain_auroc(score: Sequence[float], positive: Sequence[bool]) -> float:
    """Return the part of pairs in which the positive example scores higher; a tie is half."""
    above = [s for s, p in zip(score, positive, strict=True) if p]
    below = [s for s, p in zip(score, positive, strict=True) if not p]
    wins = sum(1.0 if p > q else 0.5 if p == q else 0.0 for p in above for q in below)
    return wins / (len(above) * len(below))


def plain_ece(confidence: Sequence[float], correct: Sequence[float], *, bins: int) -> float:
    """Return the weighted difference of mean confidence and accuracy, bin after bin."""
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [
            (c, y)
            for c, y in zip(confidence, correct, strict=True)
            if low < c <= high or (index == 0 and c == 0)
        ]
        if inside:
            mean_confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(y for _, y in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


def rates(values: Sequence[float], group: Sequence[int]) -> list[float]:
    """Return the mean value of each group."""
    return [
        sum(v for v, g in zip(values, group, strict=True) if g == name)
        / sum(1 for g in group if g == name)
        for name in sorted(set(group))
    ]


def plain_gap(values: Sequence[float], group: Sequence[int]) -> float:
    """Return the largest group mean less the smallest (fairlearn: between_groups)."""
    found = rates(values, group)
    return max(found) - min(found)


def plain_odds(chosen: Sequence[float], positive: Sequence[bool], group: Sequence[int]) -> float:
    """Return the larger gap of true and false positive rates (fairlearn: worst_case)."""
    gaps = []
    for side in (True, False):
        rows = [(c, g) for c, p, g in zip(chosen, positive, group, strict=True) if p == side]
        gaps.append(plain_gap([c for c, _ in rows], [g for _, g in rows]))
    return max(gaps)


def plain_perplexity(surprise: Sequence[float], tokens: Sequence[float]) -> float:
    """Return the exponential of the mean loss of a token."""
    return math.exp(sum(surprise) / sum(tokens))


def without_each(metric: Callable[..., float], *columns: Sequence[object]) -> np.ndarray:
    """Return the metric of all rows but one, for every row."""
    number = len(columns[0])
    return np.array([
        metric(*([v for i, v in enumerate(column) if i != left_out] for column in columns))
        for left_out in range(number)
    ])


def jackknife_variance(without: np.ndarray) -> float:
    """Return the jackknife estimate of a metric's variance (Efron and Stein 1981, eq. 1.3)."""
    number = len(without)
    return float((number - 1) / number * ((without - without.mean()) ** 2).sum())
