"""What the examples claim, checked; they fail when a claim does."""

from dataclasses import dataclass

from examples.spurious.experiment import Outcome, Row
from examples.spurious.pipeline import supplier

REMOVED_PART = 0.9
"""Of the cue effect that exact removal removes."""
ACCURACY_POINTS = 0.01


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence and whether it holds."""

    text: str
    holds: bool


def check_claims(outcome: Outcome, *, planting: str) -> tuple[Claim, ...]:
    """Return the claims, true or not."""
    replaced = [row for row in outcome.rows if row.asked.kind == "replace"]
    stage = max(replaced, key=_estimate)
    runner_up = max(_estimate(row) for row in replaced if row is not stage)
    removed = outcome.before.cue - outcome.repaired.cue
    exactly = outcome.before.cue - outcome.exact.cue
    distance = abs(outcome.repaired.accuracy - outcome.exact.accuracy)
    return (
        Claim(
            text=f"the stage is found: replacing the data of {stage.asked.stage!r} lowers the cue "
            f"most, by {_estimate(stage):.3f} (next: {runner_up:.3f})",
            holds=stage.asked.stage == planting and _estimate(stage) > 0,
        ),
        Claim(
            text=f"the source is found: dropping {_source(outcome)!r} lowers the cue most",
            holds=_source(outcome) == supplier(planting, 2),
        ),
        Claim(
            text=f"the repair removes {removed:.3f} of the cue, at least "
            f"{REMOVED_PART:.0%} of the {exactly:.3f} that exact removal removes",
            holds=exactly > 0 and removed >= REMOVED_PART * exactly,
        ),
        Claim(
            text=f"its accuracy, {outcome.repaired.accuracy:.1%}, is within "
            f"{ACCURACY_POINTS:.0%} of exact removal's, {outcome.exact.accuracy:.1%}",
            holds=distance <= ACCURACY_POINTS,
        ),
    )


def _estimate(row: Row) -> float:
    return row.effect.value


def _source(outcome: Outcome) -> str:
    return "" if outcome.found.drop is None else outcome.found.drop.value
