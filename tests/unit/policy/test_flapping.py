"""Bounds inside the noise are named before they make a gate flap."""

from typing import Any

from auditor.policy.flapping import flapping
from tests.support.reports import make_report
from tests.unit.policy.test_bounds import AGAINST, EFFECT, make_policy, with_effect


def warnings(rule: dict[str, Any], **effect: Any) -> tuple[str, ...]:
    return flapping(make_policy(rule), with_effect(**effect))


def test_a_bound_inside_the_interval_is_named() -> None:
    (text,) = warnings({**EFFECT, "at_most": 0.3})  # 0.25 +- 0.125

    assert "'rule 0': skip vendor on cue is 0.05 probability from the bound 0.3" in text
    assert "what the interval leaves open" in text


def test_a_bound_inside_rerun_noise_is_named_although_the_interval_is_narrow() -> None:
    narrow = {"low": 0.24, "high": 0.26}

    assert warnings({**EFFECT, "at_most": 0.3}, **narrow) == ()
    (text,) = warnings({**EFFECT, "at_most": 0.3}, **narrow, sd_rerun=0.04)  # 1.64 * 0.04 > 0.05
    assert "a rerun of the pipeline" in text


def test_a_bound_outside_of_the_noise_is_quiet() -> None:
    assert warnings({**EFFECT, "at_most": 0.5}, sd_order=0.1, sd_rerun=0.1) == ()
    assert warnings({**EFFECT, "at_least": -1.0}) == ()


def test_changes_against_a_baseline_have_no_noise_here() -> None:
    assert flapping(make_policy(AGAINST), make_report()) == ()


def test_a_bound_inside_the_population_interval_is_named_where_that_is_judged() -> None:
    drawn = {"low": 0.24, "high": 0.26, "population_low": 0.0, "population_high": 0.5}

    (text,) = warnings({**EFFECT, "at_most": 0.3, "judge": "population"}, **drawn)

    assert "what the interval leaves open" in text
