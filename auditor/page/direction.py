"""What an effect did to the model, so that no page can show a harm as a gain."""

from enum import StrEnum

from auditor.effects import Better, Effect, Verdict


class Direction(StrEnum):
    """What a stage, or what was intervened on, did to a query; also the class of its marks."""

    WORSE = "worse"
    BETTER = "better"
    OPEN = "open"  # no verdict *effect*: nothing is said about the direction


_OPPOSITE = {
    Direction.WORSE: Direction.BETTER,
    Direction.BETTER: Direction.WORSE,
    Direction.OPEN: Direction.OPEN,
}


def direction_of(effect: Effect) -> Direction:
    """Return what an effect did to the model, where the verdict allows to say it."""
    if effect.verdict is not Verdict.EFFECT or effect.value is None or effect.value == 0.0:
        return Direction.OPEN
    return raised_is(effect.better) if effect.value > 0 else lowered_is(effect.better)


def change_direction(change: float, *, better: str) -> Direction:
    """Return what a change of a query's value means."""
    if change == 0.0:
        return Direction.OPEN
    return raised_is(better) if change > 0 else lowered_is(better)


def raised_is(better: str) -> Direction:
    """Return what raising a query does to the model; of an unknown word nothing follows."""
    match better:
        case Better.LOWER:
            return Direction.WORSE
        case Better.HIGHER:
            return Direction.BETTER
        case _:
            return Direction.OPEN


def lowered_is(better: str) -> Direction:
    """Return what lowering a query does to the model; of an unknown word nothing follows."""
    return _OPPOSITE[raised_is(better)]


def better_words(better: str) -> str:
    """Return which direction is good, in words."""
    return f"{better} is better"


def verdict_words(effect: Effect) -> str:
    """Return the verdict and, where it is an effect, what the stage did to the model."""
    if effect.value is None:
        return "not computed"
    direction = direction_of(effect)
    return str(effect.verdict) if direction is Direction.OPEN else f"{effect.verdict}: {direction}"


def axis_ends(better: str) -> tuple[str, str]:
    """Return what the two sides of zero mean: lowered, raised."""
    sides = (("lowered it", lowered_is(better)), ("raised it", raised_is(better)))
    left, right = (
        did if direction is Direction.OPEN else f"{did}: {direction}" for did, direction in sides
    )
    return left, right
