"""What the demo claims, checked against figures and exact truth; it fails when a claim fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.effects import Effect
from service.demo.truth import CUE, EffectName

PLANTING_STAGE = "vendor"
CLEAR_FACTOR = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRow:
    """An effect of the report beside the exact truth."""

    effect: Effect
    truth: float

    @property
    def inside(self) -> bool:
        """Whether the truth lies in the reported interval.

        The last stage's skip is exact by construction: its interval has no width, and two float32
        programs differ in the last digits.
        """
        effect = self.effect
        if effect.low is None or effect.high is None:
            return False
        rounding = 1e-4 * max(1.0, abs(effect.known_value))
        return effect.low - rounding <= self.truth <= effect.high + rounding


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence and whether it holds."""

    text: str
    holds: bool


def compare(
    effects: Sequence[Effect], truth: Mapping[EffectName, float]
) -> tuple[ComparedRow, ...]:
    """Return every effect with its exact truth, in the report's order."""
    return tuple(
        ComparedRow(effect=effect, truth=truth[effect.query, effect.kind, effect.stage])
        for effect in effects
    )


def check_claims(rows: Sequence[ComparedRow]) -> tuple[Claim, ...]:
    """Return the claims about who planted the cue, true or not."""
    replaced = {
        row.effect.stage: row
        for row in rows
        if row.effect.query == CUE and row.effect.kind == "replace"
    }
    planted = replaced[PLANTING_STAGE]
    others = {
        stage: abs(row.effect.known_value)
        for stage, row in replaced.items()
        if stage != PLANTING_STAGE
    }
    value, largest = planted.effect.known_value, max(others.values())
    rest = ", ".join(f"{stage} {size:.2f}" for stage, size in others.items())
    low, high = planted.effect.low, planted.effect.high
    interval = "no interval" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"
    return (
        Claim(
            text=f"replace names the {PLANTING_STAGE} stage for the cue: {value:+.2f}, at least "
            f"{CLEAR_FACTOR:.0f} times any other (in size: {rest})",
            holds=value > 0 and value >= CLEAR_FACTOR * largest,
        ),
        Claim(
            text=f"the exact truth of that row, {planted.truth:+.2f}, lies in its interval, "
            f"{interval}",
            holds=planted.inside,
        ),
    )
