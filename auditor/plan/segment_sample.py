"""How many segments of a log are replayed when not all are, and how likely that finds a forgery."""

from math import ceil, comb

from auditor.errors import DomainError


def drawn_segments(segments: int, *, fraction: float) -> int:
    """Return how many of a stage's segments are replayed: the fraction rounded up, at least one.

    Raises:
        DomainError: If the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise DomainError(
            "sample",
            expected="a fraction above 0 and at most 1",
            found=fraction,
            remedy="Pass 1 to replay every segment.",
        )
    # 0.2 * 5 is a little above 1 in binary.
    return max(1, ceil(fraction * segments - 1e-9))


def detection_probability(segments: int, *, drawn: int, wrong: int = 1) -> float:
    """Return the probability that a uniform sample holds at least one wrong segment.

    1 - C(segments - wrong, drawn) / C(segments, drawn): sampling without replacement.

    Args:
        segments: How many there are.
        drawn: How many are replayed.
        wrong: How many do not agree with their checkpoints.
    """
    return 1 - comb(segments - wrong, drawn) / comb(segments, drawn)
