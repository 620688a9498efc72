"""Derivatives through clipping, preferences and ratios of sums; sub-samples of such ratios."""

import numpy as np
import pytest
import torch

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.minibatches import Lane, StageBatches
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.tangent import stage_embedding, zeros_like
from auditor.dynamics.trajectory import advance
from auditor.plan.curvature import StepCurvature
from auditor.plan.request import Intervention
from tests.reference.test_training_facts_vs_torch import CASES
from tests.support.cases import quiet
from tests.support.facts_cases import trained

DIFFERENTIABLE = [
    "the same in unequal microbatches",
    "accumulation, clipping by norm",
    "clipping by value",
    "clipping by norm, Adam, groups",
    "causal LM, unequal microbatches",
    "preferences against the stage's start",
]


def cotangent(run: Run) -> TrainingState:
    final = run.boundary(2)
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(final.theta.shape, generator=generator, dtype=final.theta.dtype)
    zero = zeros_like(final)
    return TrainingState(theta=weights, slots=zero.slots, buffers=zero.buffers)


def faded(run: Run, alpha: float, query: TrainingState) -> float:
    lane = Lane(intervention=Intervention(stage="stage0", kind="fade", alpha=alpha))
    state = advance(run, 0, [run.boundary(0)], lanes=[lane], on_block=quiet).states[0]
    end = advance(run, 1, [state], lanes=[Lane()], on_block=quiet).states[0]
    return float(query.theta @ end.theta)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_tangent_adjoint_and_differences_agree(name: str) -> None:
    run = trained(CASES[name])[1]
    query, skip = cotangent(run), Intervention(stage="stage0", kind="skip")

    embedding = stage_embedding(run, skip, curvature="exact", on_block=quiet)
    tangent = float(query.theta @ embedding.theta)
    adjoint = float(sweep(run, query, curvature="exact", on_block=quiet)[:5].sum())

    # Gates end at 1: differences from one side, of second order.
    h = 1e-4
    one, two, three = (faded(run, 1 - k * h, query) for k in (0, 1, 2))
    difference = (3 * one - 4 * two + three) / (2 * h)
    assert tangent == pytest.approx(adjoint, rel=1e-9)
    assert tangent == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize("curvature", ["ggn", "none"])
def test_other_curvatures_keep_the_value_of_the_gradient(curvature: StepCurvature) -> None:
    run = trained(CASES["preferences against the stage's start"])[1]
    query = cotangent(run)

    last = sweep(run, query, curvature=curvature, on_block=quiet)[9]

    exact = sweep(run, query, curvature="exact", on_block=quiet)[9]
    assert float(last) == pytest.approx(float(exact), rel=1e-10)


def test_sub_samples_of_a_ratio_are_unbiased() -> None:
    run = trained(CASES["causal LM of unequal lengths"])[1]
    whole = StageBatches(run, 0, lanes=[Lane()]).block(0, 1, lanes=(0,))
    sums = []
    for replica in range(300):
        lane = Lane(fraction=0.5, replica=replica, draw="uniform")
        own = StageBatches(run, 0, lanes=[lane]).block(0, 1, lanes=(0,))
        sums.append(float((own.weights * own.target[..., 0]).sum() / own.denominator[0]))

    truth = float((whole.weights * whole.target[..., 0]).sum() / whole.denominator[0])

    error = np.std(sums) / np.sqrt(len(sums))
    assert np.std(sums) > 0
    assert abs(np.mean(sums) - truth) < 4 * error
