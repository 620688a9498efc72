"""AA-Score with approximate curvature: both forms agree, for every optimizer; limits are exact."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.run import Run
from auditor.dynamics.segment_curvature import stage_curvature, stage_ekfac
from auditor.dynamics.tangent import stage_embedding
from auditor.errors import UnsupportedError
from auditor.plan.curvature import SampledCurvature, StepCurvature
from auditor.plan.request import Intervention
from tests.identities.test_aa_score import cotangent, product, without_last_feature
from tests.support.cases import ADAMW, CASES, MOMENTUM, make_run, quiet, staged
from tests.support.graph_model import LINEAR_SHAPES, graph_model
from tests.support.quadratic import make_quadratic_run

EKFAC = SampledCurvature(examples=12, seed=3)
SKIP = Intervention(kind="skip", stage="stage0")


def graph_run(case: str) -> Run:
    return make_run(CASES[case], buffers={}, model_of=graph_model)


def both_forms(run: Run, curvature: StepCurvature) -> tuple[Tensor, Tensor]:
    """Return the first stage's AA-Score by the tangent and by the adjoint."""
    query = cotangent(run)
    embedding = stage_embedding(run, SKIP, curvature=curvature, on_block=quiet)
    steps = sweep(run, query, curvature=curvature, on_block=quiet)
    own = steps[: run.log.stages[0].steps].sum()
    return product(query, embedding.theta, dict(embedding.buffers)), own


@pytest.mark.parametrize("case", CASES)
def test_gauss_newton_agrees_in_both_forms(case: str) -> None:
    tangent, adjoint = both_forms(make_run(CASES[case]), "ggn")

    torch.testing.assert_close(tangent, adjoint, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_ekfac_agrees_in_both_forms(case: str) -> None:
    tangent, adjoint = both_forms(graph_run(case), EKFAC)

    torch.testing.assert_close(tangent, adjoint, rtol=1e-10, atol=1e-12)


def test_every_curvature_is_another_one() -> None:
    run = graph_run("momentum kept")

    found = [both_forms(run, curvature)[1] for curvature in ("exact", "ggn", "none", EKFAC)]

    spread = torch.stack(found).sort().values.diff()
    assert bool((spread > 1e-4 * torch.stack(found).abs().max()).all())


@pytest.mark.parametrize("spec", [MOMENTUM, ADAMW], ids=["momentum", "adamw"])
def test_gauss_newton_is_exact_for_a_linear_classifier(spec) -> None:
    groups = tuple(replace(group, parameters=tuple(LINEAR_SHAPES)) for group in spec.groups)
    stages = staged(replace(spec, groups=groups), transition="keep")
    run = make_run(stages, shapes=LINEAR_SHAPES, buffers={}, model_of=graph_model)

    exact, ggn, none = (
        sweep(run, cotangent(run), curvature=curvature, on_block=quiet)
        for curvature in ("exact", "ggn", "none")
    )

    torch.testing.assert_close(ggn, exact, rtol=1e-10, atol=1e-14)
    assert (none - exact).abs().max() > 1e-3 * exact.abs().max()


def test_gauss_newton_is_exact_for_a_linear_regression() -> None:
    groups = tuple(replace(group, parameters=("weight",)) for group in MOMENTUM.groups)
    run = make_quadratic_run(staged(replace(MOMENTUM, groups=groups), transition="keep"))

    exact = sweep(run, cotangent(run), curvature="exact", on_block=quiet)
    ggn = sweep(run, cotangent(run), curvature="ggn", on_block=quiet)

    torch.testing.assert_close(ggn, exact, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("curvature", ["exact", "ggn", "none", EKFAC], ids=str)
@pytest.mark.parametrize("case", ["adam reset", "adamw kept"])
def test_coordinates_without_gradient_stay_finite_under_adam(
    case: str, curvature: StepCurvature
) -> None:
    run = make_run(CASES[case], columns=without_last_feature(), buffers={}, model_of=graph_model)

    tangent, adjoint = both_forms(run, curvature)

    assert bool(torch.isfinite(adjoint))
    torch.testing.assert_close(tangent, adjoint, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("curvature", ["ggn", EKFAC], ids=str)
def test_traced_steps_agree_with_untraced_ones(curvature: StepCurvature) -> None:
    long = replace(CASES["adamw kept"][0], steps=70)
    stages = (long, replace(long, transition="keep"))
    run = make_run(stages, buffers={}, model_of=graph_model)

    tangent, adjoint = both_forms(run, curvature)

    torch.testing.assert_close(tangent, adjoint, rtol=1e-9, atol=1e-12)


def test_ekfac_is_deterministic_and_follows_its_seed() -> None:
    one, same = (stage_ekfac(graph_run("momentum kept"), 1, examples=8, seed=3) for _ in range(2))
    other = stage_ekfac(graph_run("momentum kept"), 1, examples=8, seed=5)

    assert torch.equal(one.eigen.eigenvalues, same.eigen.eigenvalues)
    assert not torch.equal(one.eigen.eigenvalues, other.eigen.eigenvalues)


def test_a_curvature_is_computed_once() -> None:
    run = graph_run("momentum kept")

    assert stage_curvature(run, 1, EKFAC) is stage_curvature(run, 1, EKFAC)


def test_an_objective_without_graph_has_no_ekfac() -> None:
    with pytest.raises(UnsupportedError, match="ggn, exact or none"):
        stage_ekfac(make_run(CASES["sgd"]), 0, examples=8, seed=0)
