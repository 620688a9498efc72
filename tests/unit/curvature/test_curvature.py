"""Curvature models: the same gradient, other derivatives of it."""

import torch

from auditor.curvature.exact import ExactCurvature
from auditor.curvature.none import NoCurvature
from auditor.model.layout import ParameterLayout
from auditor.model.objective import Minibatch
from tests.support.objectives import BUFFER, FEATURES, MLP_SHAPES, LinearRegression, MlpObjective

F64 = torch.float64


def test_values_are_the_exact_gradient() -> None:
    objective = MlpObjective(ParameterLayout(tuple(MLP_SHAPES), tuple(MLP_SHAPES.values())))
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(objective.layout.size, generator=generator, dtype=F64)
    buffers = {BUFFER: torch.randn(3, generator=generator, dtype=F64)}
    batch = Minibatch(
        inputs=(torch.randn(5, FEATURES, generator=generator, dtype=F64),),
        target=torch.tensor([0, 1, 2, 0, 1]),
        weights=torch.ones(5, dtype=F64),
        denominator=torch.tensor(5.0, dtype=F64),
    )

    exact, moved = ExactCurvature().gradient_of(objective)(theta, buffers, batch)
    none, same = NoCurvature().gradient_of(objective)(theta, buffers, batch)

    assert torch.equal(exact, none)
    assert torch.equal(moved[BUFFER], same[BUFFER])


def test_derivative_is_the_hessian_or_nothing() -> None:
    objective = LinearRegression(ParameterLayout(("weight",), ((FEATURES,),)))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, FEATURES, generator=generator, dtype=F64)
    batch = Minibatch(
        inputs=(inputs,),
        target=torch.zeros(6, dtype=F64),
        weights=torch.ones(6, dtype=F64),
        denominator=torch.tensor(6.0, dtype=F64),
    )
    theta = torch.randn(FEATURES, generator=generator, dtype=F64)

    exact, none = (
        torch.func.jacfwd(lambda t, c=curvature: c.gradient_of(objective)(t, {}, batch)[0])(theta)
        for curvature in (ExactCurvature(), NoCurvature())
    )

    torch.testing.assert_close(exact, inputs.T @ inputs / 6)
    assert not none.any()
