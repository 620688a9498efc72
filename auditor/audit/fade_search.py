"""How far must a stage be faded? A grid of levels, then bisection where the goals change hands.

Pure: whoever runs the audits asks :func:`next_levels` what to try and :func:`chosen` when there is
nothing left. The recorded model itself is the level 1, which costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from auditor.plan.repair import Goal
from auditor.report.schema import Report

RECORDED_LEVEL = 1.0
DIGITS = 4
"""Decimals of a level, so that a label shows the whole of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A level that was tried, and every query's value there.

    Args:
        alpha: The part left of each of the stage's updates.
        before: Values at the final model, by query.
        after: Values at the counterfactual one.
    """

    alpha: float
    before: Mapping[str, float]
    after: Mapping[str, float]

    def meets(self, goal: Goal) -> bool:
        """Say whether one goal is met."""
        return goal.is_met(before=self.before[goal.query], after=self.after[goal.query])

    def meets_all(self, goals: Sequence[Goal]) -> bool:
        """Say whether all goals are met."""
        return all(self.meets(goal) for goal in goals)

    def excess(self, goal: Goal) -> float:
        """Return how far a goal's bound is exceeded; 0 when it is not."""
        found = goal.excess(before=self.before[goal.query], after=self.after[goal.query])
        return max(0.0, found)


def candidate_of(report: Report, alpha: float, *, label: str) -> Candidate:
    """Return the level whose intervention has this label in a report.

    Raises:
        NumericalError: If an effect was not computed, because the run diverged.
    """
    before = {row.query: row.value for row in report.queries}
    effects = {row.query: row.known_value for row in report.effects if row.intervention == label}
    return Candidate(
        alpha=alpha,
        before=before,
        after={query: value - effects[query] for query, value in before.items()},
    )


def next_levels(
    tried: Sequence[Candidate],
    goals: Sequence[Goal],
    *,
    grid: Sequence[float],
    resolution: float,
) -> tuple[float, ...]:
    """Return the levels to try next; none when the search is over.

    After the grid, neighbouring levels are looked at from the gentlest on. Between two of them a
    level that meets all goals is possible if each goal is met at one of the two, so that is where
    the interval is halved, down to ``resolution``.

    Args:
        tried: Levels tried so far, in any order.
        goals: What has to hold.
        grid: Levels of the first round.
        resolution: Width below which an interval is not halved.
    """
    if not tried:
        return tuple(grid)
    levels = _with_recorded(tried)
    for gentler, harder in pairwise(levels):
        if gentler.meets_all(goals):
            return ()
        possible = all(gentler.meets(goal) or harder.meets(goal) for goal in goals)
        if possible and gentler.alpha - harder.alpha > resolution:
            return (round((gentler.alpha + harder.alpha) / 2, DIGITS),)
    return ()


def chosen(tried: Sequence[Candidate], goals: Sequence[Goal]) -> Candidate | None:
    """Return the gentlest level that meets all goals, or None; level 1 is the recorded model."""
    return next((level for level in _with_recorded(tried) if level.meets_all(goals)), None)


def closest(tried: Sequence[Candidate], goals: Sequence[Goal]) -> Candidate:
    """Return the level that comes closest to the goals.

    The one that misses fewest; among those, the one with the smallest sum of excesses, each
    relative to the largest that was seen; among those, the gentlest.
    """
    levels = _with_recorded(tried)
    largest = [max(level.excess(goal) for level in levels) or 1.0 for goal in goals]

    def distance(level: Candidate) -> tuple[int, float]:
        excesses = [level.excess(goal) / most for goal, most in zip(goals, largest, strict=True)]
        return sum(not level.meets(goal) for goal in goals), sum(excesses)

    return min(levels, key=distance)


def _with_recorded(tried: Sequence[Candidate]) -> list[Candidate]:
    """Return the levels from 1 down, the recorded model first."""
    recorded = Candidate(alpha=RECORDED_LEVEL, before=tried[0].before, after=tried[0].before)
    return [recorded, *sorted(tried, key=lambda level: -level.alpha)]
