"""AA-Score: tangent = adjoint = central differences of gated retraining, for every optimizer."""

import pytest
import torch
from torch import Tensor

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.dynamics.tangent import stage_embedding, zeros_like
from auditor.plan.request import Intervention, StepWindow
from tests.support.cases import CASES, make_run, quiet
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
