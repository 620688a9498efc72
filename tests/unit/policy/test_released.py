"""A gate is about the model that goes out: the repaired one, where a report hands one out."""

from typing import Any

import pytest

from auditor.policy.flapping import flapping
from auditor.policy.released import as_released
from auditor.policy.result import Outcome
from auditor.report.schema import Report
from tests.support.reports import make_effect
from tests.unit.attest.test_repair_statement import SKIP, make_repair
from tests.unit.policy.test_bounds import EFFECT, gate, make_policy


def repaired(**effect: Any) -> Report:
    row = make_effect(intervention=SKIP.label, population_low=0.2, population_high=0.4, **effect)
    return make_repair().model_copy(update={"effects": (row,)})


@pytest.mark.parametrize("judge", ["interval", "value", "population"])
def test_what_the_repair_took_out_has_no_effect_however_it_is_judged(judge: str) -> None:
    above, below = ({**EFFECT, "judge": judge, side: 0.1} for side in ("at_least", "at_most"))

    assert gate(above, repaired()).outcome is Outcome.FAIL
    assert gate(below, repaired()).outcome is Outcome.PASS


def test_values_are_those_after_the_repair_on_the_same_data() -> None:
    report = repaired()
    (before,), (after,) = report.queries, as_released(report).queries

    assert (before.value, after.value) == (0.5, 0.25)
    assert after.data == before.data


def test_warnings_are_about_the_figures_that_the_gate_judges() -> None:
    assert flapping(make_policy({**EFFECT, "at_most": 0.3}), repaired()) == ()
