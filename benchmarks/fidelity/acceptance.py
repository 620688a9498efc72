"""Of the figures that ``auto`` accepts at a tolerance, how many are further from the truth."""

from collections.abc import Callable
from typing import Final, TypedDict

from benchmarks.fidelity.estimates import Answer, Estimate

ABSOLUTE_UP_TO: Final = 1.0
"""Effects larger than this have relative tolerances; see ``AutoSettings``."""


class Acceptance(TypedDict):
    """Counts of one estimator's rows; rows that are exact by construction are left out.

    ``unresolved`` are those that it says it could not answer within the tolerance.
    """

    accepted: int
    beyond: int
    unresolved: int


def acceptance(answer: Answer, true_mean: Callable[[Estimate], float]) -> Acceptance | None:
    """Return the counts; None for an estimator that was given no tolerance.

    Args:
        answer: With the tolerances that it says it kept.
        true_mean: The mean effect of exact retraining in plain torch.
    """
    if not answer.tolerances:
        return None
    found = Acceptance(accepted=0, beyond=0, unresolved=0)
    for estimate in answer.estimates:
        effect = estimate.effect
        if effect.exact_by_construction:
            continue
        tolerance = answer.tolerances[effect.intervention]
        if tolerance is None or effect.value is None:
            found["unresolved"] += 1
            continue
        found["accepted"] += 1
        allowed = tolerance * max(ABSOLUTE_UP_TO, abs(effect.value))
        found["beyond"] += abs(effect.value - true_mean(estimate)) > allowed
    return found
