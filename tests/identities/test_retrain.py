"""Exact retraining: advance against a plain loop, lanes against single ones, skip against fade."""

import pytest
import torch

from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import Lane, advance
from auditor.plan.request import Intervention
from tests.support.cases import CASES, make_run, quiet
from tests.support.dense import flat, retrain, within

RTOL = 1e-10


def carried(run: Run, lane: Lane, *, first_stage: int = 0) -> TrainingState:
    """Return the final state when ``lane`` acts on ``first_stage`` and later ones are recorded."""
    state = run.boundary(first_stage)
    plain = Lane(None, lane.fraction, lane.seed, lane.replica)
    for index in range(first_stage, len(run.log.stages)):
        own = lane if index == first_stage else plain
        state = advance(run, index, [state], lanes=[own], on_block=quiet).states[0]
    return state


@pytest.mark.parametrize("case", CASES)
def test_advance_equals_plain_loop(case: str) -> None:
    run = make_run(CASES[case], weighted=True)

    truth = retrain(run, lambda _step: 1.0)

    torch.testing.assert_close(run.boundary(3).theta, flat(run, truth), rtol=RTOL, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_gated_stage_equals_plain_loop(case: str, alpha: float) -> None:
    run = make_run(CASES[case])
    fade = Intervention(kind="fade", stage="stage1", alpha=alpha)

    found = carried(run, Lane(fade), first_stage=1)

    truth = retrain(run, within(5, 10, alpha=alpha), start=1)
    torch.testing.assert_close(found.theta, flat(run, truth), rtol=RTOL, atol=1e-14)
    for name, value in found.buffers.items():
        torch.testing.assert_close(value, truth.buffers[name], rtol=RTOL, atol=1e-14)
