"""Settling: lanes against single ones, against a plain loop, and as an affine map."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.settle import Twins, settle, tail_steps
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import Lane, advance
from auditor.plan.request import Intervention
from tests.identities.test_random_runs import runs
from tests.support.cases import CASES, StageSpec, make_run, one_group, quiet, sgd
from tests.support.dense import continued, named
from tests.support.quadratic import affine_stage, make_quadratic_run

TAIL = 0.6


def twins_of(run: Run, stage: int, *, alpha: float) -> Twins:
    """Return the state after a faded stage and the recorded one."""
    fade = Intervention(kind="fade", stage=f"stage{stage}", alpha=alpha)
    lanes = [Lane(fade)]
    faded = advance(run, stage, [run.boundary(stage)], lanes=lanes, on_block=quiet).states[0]
    return faded, run.boundary(stage + 1)


def settled(run: Run, stage: int, twins: Twins, *, tail: float = TAIL) -> TrainingState:
    return settle(run, stage, [twins], lanes=[Lane()], tail=tail, on_block=quiet)[0]


def by_plain_loop(run: Run, stage: int, twins: Twins, *, tail: float) -> Tensor:
    """Return theta of the same computation, written per tensor."""
    moved = run.boundary_layout(stage).unflatten(twins[0].theta - twins[1].theta)
    end, recorded = named(run, run.boundary(stage + 1), boundary=stage + 1), run.log.stages[stage]
    for name in set(end.theta) & set(moved) - set(recorded.transition.added):
        end.theta[name] = end.theta[name] + moved[name]
    first = recorded.end_step - tail_steps(recorded.steps, tail=tail)
    state = continued(run, stage, end, steps=range(first, recorded.end_step))
    return run.layout(stage).flatten(state.theta)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stage", [1, 2])
def test_settling_equals_a_plain_loop(case: str, stage: int) -> None:
    run = make_run(CASES[case])
    twins = twins_of(run, stage - 1, alpha=0.3)

    found = settled(run, stage, twins)

    truth = by_plain_loop(run, stage, twins, tail=TAIL)
    torch.testing.assert_close(found.theta, truth, rtol=1e-10, atol=1e-13)


@given(stages=runs, seed=st.integers(0, 10**6), tail=st.floats(0.01, 1), alpha=st.floats(0, 1))
@settings(max_examples=15)
def test_settling_random_runs_equals_a_plain_loop(
    stages: tuple[StageSpec, ...], seed: int, tail: float, alpha: float
) -> None:
    run = make_run(stages, seed=seed, weighted=True)
    twins = twins_of(run, 0, alpha=alpha)

    found = settled(run, 1, twins, tail=tail)

    truth = by_plain_loop(run, 1, twins, tail=tail)
    torch.testing.assert_close(found.theta, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["nesterov decay kept", "two adam groups", "added head, adamw"])
def test_settled_lanes_equal_single_lanes(case: str) -> None:
    run = make_run(CASES[case])
    recorded = run.boundary(1)
    twins = [twins_of(run, 0, alpha=alpha) for alpha in (0.0, 0.4)] + [(recorded, recorded)] * 2
    lanes = [Lane(fraction=0.5, seed=3, replica=replica) for replica in (0, 0, 0, 1)]

    grouped = settle(run, 1, twins, lanes=lanes, tail=TAIL, on_block=quiet)

    for own, lane, state in zip(twins, lanes, grouped, strict=True):
        alone = settle(run, 1, [own], lanes=[lane], tail=TAIL, on_block=quiet)[0]
        torch.testing.assert_close(state.theta, alone.theta, rtol=1e-11, atol=1e-13)
    assert not torch.allclose(grouped[2].theta, grouped[3].theta)


@pytest.mark.parametrize("case", CASES)
def test_removing_nothing_displaces_nothing(case: str) -> None:
    run = make_run(CASES[case])
    recorded = run.boundary(1)

    unchanged = settled(run, 1, twins_of(run, 0, alpha=1.0))

    assert torch.equal(unchanged.theta, settled(run, 1, (recorded, recorded)).theta)


@pytest.mark.parametrize("transition", ["reset", "keep"])
def test_displacement_of_a_quadratic_run_moves_by_the_steps_own_matrix(
    transition: Literal["reset", "keep"],
) -> None:
    spec = replace(one_group(sgd("weight", lr=0.05, momentum=0.9)), transition=transition)
    run = make_quadratic_run((spec, spec, spec))
    twins = twins_of(run, 0, alpha=0.2)
    recorded = run.boundary(1)

    moved = settled(run, 1, twins).theta - settled(run, 1, (recorded, recorded)).theta

    matrix, _ = affine_stage(run, 1, last=3)
    truth = matrix[:4, :4] @ (twins[0].theta - recorded.theta)
    torch.testing.assert_close(moved, truth, rtol=1e-10, atol=1e-13)
