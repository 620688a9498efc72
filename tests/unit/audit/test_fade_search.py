"""The search for the gentlest sufficient fade, on queries whose answer is known."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.fade_search import Candidate, chosen, closest, next_levels
from auditor.plan.repair import Goal

GRID = (0.8, 0.6, 0.4, 0.2, 0.0)
CUE = Goal(query="cue", of="value", relation="<", bound=0.1)
ACCURACY = Goal(query="accuracy", of="change", relation=">", bound=-0.01)
Curve = Callable[[float], dict[str, float]]


def search(curve: Curve, *goals: Goal, resolution: float = 0.01) -> list[Candidate]:
    tried: list[Candidate] = []
    while levels := next_levels(tried, goals, grid=GRID, resolution=resolution):
        tried += [Candidate(alpha=a, before=curve(1.0), after=curve(a)) for a in levels]
    return tried


def linear(alpha: float) -> dict[str, float]:
    return {"cue": 0.3 * alpha, "accuracy": 0.9 + 0.05 * alpha}


def test_gentlest_level_of_a_monotone_query_is_found_to_the_resolution() -> None:
    tried = search(linear, CUE)

    found = chosen(tried, [CUE])
    assert found is not None
    assert 1 / 3 - 0.01 < found.alpha < 1 / 3  # the cue is below 0.1 below a third
    assert len(tried) <= len(GRID) + 5


@given(bound=st.floats(min_value=0.001, max_value=0.299))
def test_result_is_a_level_that_meets_the_goal_just_below_the_last_that_does_not(
    bound: float,
) -> None:
    goal = Goal(query="cue", of="value", relation="<", bound=bound)

    found = chosen(search(linear, goal), [goal])

    assert found is not None
    assert found.meets(goal)
    assert found.alpha >= bound / 0.3 - 0.0101


def test_window_between_two_levels_of_the_grid_is_found() -> None:
    keep = Goal(query="accuracy", of="change", relation=">", bound=-0.035)  # above 0.3

    found = chosen(search(linear, CUE, keep), [CUE, keep])

    assert found is not None
    assert 0.3 < found.alpha < 1 / 3


def test_goals_that_exclude_one_another_end_the_search_without_a_level() -> None:
    tried = search(linear, CUE, ACCURACY)

    assert chosen(tried, [CUE, ACCURACY]) is None
    assert len(tried) < 20


def test_closest_level_misses_fewest_goals_and_those_by_least() -> None:
    tried = search(linear, CUE, ACCURACY)

    best = closest(tried, [CUE, ACCURACY])

    assert best.meets(CUE) != best.meets(ACCURACY)
    others = [level for level in tried if level.meets(CUE) == best.meets(CUE)]
    assert all(best.excess(ACCURACY) <= level.excess(ACCURACY) for level in others)


def test_recorded_model_that_meets_the_goals_is_left_as_it_is() -> None:
    easy = Goal(query="cue", of="value", relation="<", bound=0.5)
    tried = search(linear, easy)

    found = chosen(tried, [easy])

    assert found is not None
    assert found.alpha == 1.0
    assert [level.alpha for level in tried] == list(GRID)


@pytest.mark.parametrize(
    ("relation", "of", "before", "after", "met"),
    [
        ("<", "value", 1.0, 0.05, True),
        ("<", "value", 1.0, 0.1, False),
        (">", "value", 0.0, 0.2, True),
        (">", "change", 0.9, 0.95, False),
        ("<", "change", 0.9, 0.95, True),
    ],
)
def test_goal_bounds_a_value_or_a_change(
    relation: str, of: str, before: float, after: float, met: bool
) -> None:
    goal = Goal.model_validate({"query": "q", "of": of, "relation": relation, "bound": 0.1})

    assert goal.is_met(before=before, after=after) is met
