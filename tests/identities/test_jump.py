"""Jumps: retraining of quadratic runs, products of Jacobians, lanes against single ones."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from auditor.dynamics.displacement import Twins
from auditor.dynamics.jump import jump
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import Lane, advance
from auditor.errors import NumericalError
from auditor.plan.curvature import StepCurvature
from auditor.plan.request import Intervention
from tests.identities.test_random_runs import runs
from tests.support.cases import CASES, StageSpec, make_run, one_group, quiet, sgd
from tests.support.quadratic import make_quadratic_run

WEIGHT = "weight"
QUADRATIC = {
    "sgd": one_group(sgd(WEIGHT, lr=0.1)),
    "decay": one_group(sgd(WEIGHT, lr=0.1, weight_decay=0.2)),
    "momentum": one_group(sgd(WEIGHT, lr=0.05, momentum=0.9)),
    "nesterov": one_group(sgd(WEIGHT, lr=0.05, momentum=0.9, weight_decay=0.1), nesterov=True),
}


def faded(run: Run, stage: int, *, alpha: float) -> Twins:
    """Return the state after a faded stage and the recorded one."""
    fade = Intervention(kind="fade", stage=f"stage{stage}", alpha=alpha)
    states = [run.boundary(stage)]
    return (
        advance(run, stage, states, lanes=[Lane(fade)], on_block=quiet).states[0],
        run.boundary(stage + 1),
    )


def carried(run: Run, twins: Twins, *, first: int, curvature: StepCurvature = "exact") -> Twins:
    """Return the twins at the end of the run."""
    for stage in range(first, len(run.log.stages)):
        displaced = jump(run, stage, [twins], lane=Lane(), curvature=curvature, on_block=quiet)[0]
        twins = (displaced, run.boundary(stage + 1))
    return twins


def retrained(run: Run, state: TrainingState, *, first: int) -> TrainingState:
    for stage in range(first, len(run.log.stages)):
        state = advance(run, stage, [state], lanes=[Lane()], on_block=quiet).states[0]
    return state


@pytest.mark.parametrize("transition", ["reset", "keep"])
@pytest.mark.parametrize("name", QUADRATIC)
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_jump_equals_retraining_of_a_quadratic_run(
    name: str, transition: Literal["reset", "keep"], alpha: float
) -> None:
    spec: StageSpec = replace(QUADRATIC[name], transition=transition)
    run = make_quadratic_run((spec, spec, spec))
    twins = faded(run, 0, alpha=alpha)

    end = carried(run, twins, first=1)[0]

    truth = retrained(run, twins[0], first=1)
    torch.testing.assert_close(end.theta, truth.theta, rtol=1e-11, atol=1e-13)


def test_displacing_parameters_alone_breaks_the_quadratic_identity() -> None:
    spec = replace(QUADRATIC["momentum"], transition="keep")
    run = make_quadratic_run((spec, spec, spec))
    displaced, recorded = faded(run, 0, alpha=0.0)

    end = carried(run, (replace(recorded, theta=displaced.theta), recorded), first=1)[0]

    truth = retrained(run, displaced, first=1).theta - run.boundary(3).theta
    error = (end.theta - run.boundary(3).theta) - truth
    assert float(error.norm()) > 0.1 * float(truth.norm())


def by_differences(run: Run, twins: Twins, *, first: int, width: float = 1e-4) -> Tensor:
    """Return the derivative of the final parameters along the displacement, per unit."""
    displaced, recorded = twins

    def end(scale: float) -> Tensor:
        state = recorded.replaced([
            b + scale * (a - b)
            for a, b in zip(displaced.tensors, recorded.tensors, strict=True)
        ])  # fmt: skip
        return retrained(run, state, first=first).theta

    coarse = (end(width) - end(-width)) / (2 * width)
    fine = (end(width / 2) - end(-width / 2)) / width
    return (4 * fine - coarse) / 3


@pytest.mark.parametrize("case", CASES)
def test_jump_is_the_derivative_of_retraining(case: str) -> None:
    run = make_run(CASES[case])
    twins = faded(run, 0, alpha=0.8)

    end = carried(run, twins, first=1)[0]

    found = end.theta - run.boundary(3).theta
    torch.testing.assert_close(found, by_differences(run, twins, first=1), rtol=1e-5, atol=1e-8)


@given(stages=runs, seed=st.integers(0, 10**6), alpha=st.floats(0.5, 0.95))
@settings(max_examples=12)
def test_jump_in_random_runs_is_the_derivative_of_retraining(
    stages: tuple[StageSpec, ...], seed: int, alpha: float
) -> None:
    run = make_run(stages, seed=seed, weighted=True)
    twins = faded(run, 1, alpha=alpha)

    end = carried(run, twins, first=2)[0]

    found = end.theta - run.boundary(3).theta
    torch.testing.assert_close(found, by_differences(run, twins, first=2), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", ["nesterov decay kept", "two adam groups", "added head, adamw"])
@pytest.mark.parametrize("curvature", ["exact", "ggn", "none"])
def test_displacements_together_equal_single_ones(case: str, curvature: StepCurvature) -> None:
    run = make_run(CASES[case])
    twins = [faded(run, 0, alpha=alpha) for alpha in (0.0, 0.5, 1.0)]

    together = jump(run, 1, twins, lane=Lane(), curvature=curvature, on_block=quiet)

    for own, state in zip(twins, together, strict=True):
        alone = jump(run, 1, [own], lane=Lane(), curvature=curvature, on_block=quiet)[0]
        torch.testing.assert_close(state.theta, alone.theta, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_removing_nothing_ends_where_the_run_did(case: str) -> None:
    run = make_run(CASES[case])

    end = carried(run, faded(run, 0, alpha=1.0), first=1)[0]

    assert torch.equal(end.theta, run.boundary(3).theta)


@pytest.mark.parametrize("case", CASES)
def test_final_buffers_stay_as_recorded(case: str) -> None:
    run = make_run(CASES[case])

    end = carried(run, faded(run, 0, alpha=0.0), first=1)[0]

    for name, values in run.boundary(3).buffers.items():
        assert torch.equal(end.buffers[name], values)


def test_traced_jumps_equal_untraced_ones() -> None:
    spec = replace(CASES["adamw kept"][1], steps=70)
    run, other = (make_run((CASES["adamw kept"][0], spec)) for _ in range(2))
    twins = faded(run, 0, alpha=0.9)

    traced = jump(run, 1, [twins], lane=Lane(), curvature="exact", on_block=quiet)[0]

    found = traced.theta - run.boundary(2).theta
    torch.testing.assert_close(found, by_differences(other, twins, first=1), rtol=1e-4, atol=1e-8)


def test_divergence_is_a_diagnosis() -> None:
    spec = QUADRATIC["sgd"]
    wild = replace(spec, groups=(sgd(WEIGHT, lr=1e3),))
    run = make_quadratic_run((spec, wild))
    displaced, recorded = faded(run, 0, alpha=0.0)
    far = replace(displaced, theta=displaced.theta * 1e300)

    with pytest.raises(NumericalError, match=r"stages\[stage1\]\.steps\[5\.\."):
        jump(run, 1, [(far, recorded)], lane=Lane(), curvature="exact", on_block=quiet)


def test_sampled_jumps_scatter_about_the_recorded_one() -> None:
    run = make_run((CASES["momentum kept"][0], replace(CASES["momentum kept"][1], batch=8)))
    twins = faded(run, 0, alpha=0.9)
    lanes = [Lane(fraction=0.5, seed=1, replica=replica) for replica in range(40)]

    ends = torch.stack([
        jump(run, 1, [twins], lane=lane, curvature="exact", on_block=quiet)[0].theta
        for lane in lanes
    ])

    whole = jump(run, 1, [twins], lane=Lane(), curvature="exact", on_block=quiet)[0].theta
    scatter = ends.std(0)
    assert bool((scatter > 0).all())
    # The mean of 40 has an error of 0.16 sd, and half of each batch is a little off as well.
    assert float(((ends.mean(0) - whole) / scatter).abs().max()) < 1.5


def test_a_displacement_that_runs_away_is_a_diagnosis() -> None:
    # A learning rate far above the edge of stability multiplies displacements at every step.
    spec = QUADRATIC["sgd"]
    run = make_quadratic_run((spec, replace(spec, groups=(sgd(WEIGHT, lr=30.0),), steps=3)))
    displaced, recorded = faded(run, 0, alpha=0.0)
    far = replace(displaced, theta=displaced.theta + 1e6)

    with pytest.raises(NumericalError, match="runs away"):
        jump(run, 1, [(far, recorded)], lane=Lane(), curvature="exact", on_block=quiet)
