"""AA-Score: tangent = adjoint = central differences of gated retraining, for every optimizer."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.tangent import stage_embedding, zeros_like
from auditor.plan.request import Intervention, StepWindow
from tests.support.cases import CASES, make_columns, make_run, quiet
from tests.support.dense import DenseState, derivative, flat, retrain, within

RTOL = 1e-6


def cotangent(run: Run) -> TrainingState:
    """Return the gradient of a linear query on parameters and buffers."""
    final = run.boundary(len(run.log.stages))
    generator = torch.Generator().manual_seed(7)
    weights = [
        torch.randn(t.shape, generator=generator, dtype=t.dtype)
        for t in (final.theta, *(final.buffers[n] for n in sorted(final.buffers)))
    ]
    return TrainingState(
        theta=weights[0],
        slots=zeros_like(final).slots,
        buffers=dict(zip(sorted(final.buffers), weights[1:], strict=True)),
    )


def product(query: TrainingState, theta: Tensor, buffers: dict[str, Tensor]) -> Tensor:
    return query.theta @ theta + sum(query.buffers[n].ravel() @ buffers[n].ravel() for n in buffers)


def difference(run: Run, first: int, end: int, *, gated: str = "state") -> Tensor:
    """Return the derivative of the query by central differences of the plain loop."""
    query = cotangent(run)

    def value(alpha: float) -> Tensor:
        state: DenseState = retrain(run, within(first, end, alpha=alpha), gated=gated)
        return product(query, flat(run, state), state.buffers)

    return derivative(value, at=1.0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("stage", "first", "end"), [(0, 0, 5), (1, 5, 10), (1, 6, 8)])
def test_tangent_adjoint_and_differences_agree(case: str, stage: int, first: int, end: int) -> None:
    run = make_run(CASES[case])
    query = cotangent(run)
    intervention = Intervention(
        kind="skip", stage=f"stage{stage}", steps=StepWindow(first_step=first, end_step=end)
    )

    embedding = stage_embedding(run, intervention, curvature="exact", on_block=quiet)
    tangent = product(query, embedding.theta, dict(embedding.buffers))
    adjoint = sweep(run, query, curvature="exact", on_block=quiet)[first:end].sum()

    truth = difference(run, first, end)
    torch.testing.assert_close(tangent, adjoint, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(tangent, truth, rtol=RTOL, atol=1e-9)


@pytest.mark.parametrize("case", ["momentum kept", "adamw kept"])
def test_gating_parameters_only_answers_another_question(case: str) -> None:
    run = make_run(CASES[case])

    whole = difference(run, 5, 10)
    parameters_only = difference(run, 5, 10, gated="parameters")

    # Both alternatives have a derivative; ours is that of the whole state (first test above).
    assert abs(whole - parameters_only) > 0.05 * abs(whole)


@pytest.mark.parametrize("case", CASES)
def test_last_stage_derivative_is_its_displacement(case: str) -> None:
    run = make_run(CASES[case])
    last = Intervention(kind="skip", stage="stage2", steps=StepWindow(first_step=14, end_step=15))

    embedding = stage_embedding(run, last, curvature="exact", on_block=quiet)

    before = retrain(run, within(14, 15, alpha=0.0), start=2)
    displacement = run.boundary(3).theta - flat(run, before)
    torch.testing.assert_close(embedding.theta, displacement, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_no_curvature_agrees_in_both_forms_and_differs_from_exact(case: str) -> None:
    run = make_run(CASES[case])
    query = cotangent(run)
    skip = Intervention(kind="skip", stage="stage0")

    embedding = stage_embedding(run, skip, curvature="none", on_block=quiet)
    adjoint = sweep(run, query, curvature="none", on_block=quiet)[:5].sum()
    exact = sweep(run, query, curvature="exact", on_block=quiet)[:5].sum()

    tangent = product(query, embedding.theta, dict(embedding.buffers))
    torch.testing.assert_close(tangent, adjoint, rtol=1e-10, atol=1e-12)
    assert abs(adjoint - exact) > 1e-6 * abs(exact)


def test_frozen_curvature_is_exact_where_the_loss_is_linear() -> None:
    run = make_run(CASES["momentum kept"])
    query = cotangent(run)

    exact = sweep(run, query, curvature="exact", on_block=quiet)
    none = sweep(run, query, curvature="none", on_block=quiet)

    # The last step's own effect has no Jacobian after it, so curvature cannot matter.
    torch.testing.assert_close(exact[-1], none[-1], rtol=1e-12, atol=0.0)


def test_traced_steps_agree_with_untraced_ones() -> None:
    long = replace(CASES["adamw kept"][0], steps=70)
    run = make_run((long, replace(long, transition="keep")))
    query = cotangent(run)
    skip = Intervention(kind="skip", stage="stage0")

    embedding = stage_embedding(run, skip, curvature="exact", on_block=quiet)
    adjoint = sweep(run, query, curvature="exact", on_block=quiet)[:70].sum()

    tangent = product(query, embedding.theta, dict(embedding.buffers))
    torch.testing.assert_close(tangent, adjoint, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(tangent, difference(run, 0, 70), rtol=1e-5, atol=1e-9)


def test_coordinates_without_gradient_stay_finite_under_adam() -> None:
    run = make_run(CASES["adam reset"], columns=without_last_feature())

    effects = sweep(run, cotangent(run), curvature="exact", on_block=quiet)

    assert bool(torch.isfinite(effects).all())
    torch.testing.assert_close(effects[:5].sum(), difference(run, 0, 5), rtol=RTOL, atol=1e-9)


def without_last_feature() -> dict[str, Tensor]:
    """Return columns whose last feature is always zero, so that its weights get no gradient."""
    generator = torch.Generator().manual_seed(3)
    columns = make_columns(24, generator=generator, dtype=torch.float64)
    columns["input"][:, -1] = 0.0
    return columns
