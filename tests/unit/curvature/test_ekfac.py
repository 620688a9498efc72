"""EK-FAC of linear, convolutional, embedding and attention parameters."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from auditor.curvature.ekfac import ekfac
from auditor.curvature.ggn import GgnCurvature
from auditor.curvature.sample import EXACT_OUTPUTS, CurvatureSample, output_directions
from auditor.curvature.segment import SegmentCurvature
from auditor.errors import UnsupportedError
from auditor.model.objective import GraphObjective
from auditor.stagelog.log import Bindings, Loss
from tests.support.curvatures import Imported, imported, no_draw
from tests.support.models import FAMILIES, build_module, import_module

F64 = torch.float64
EXAMPLES = 12


@functools.cache
def load(family: str) -> Imported:
    generator = torch.Generator().manual_seed(0)
    module = build_module(family)
    inputs = FAMILIES[family].inputs(EXAMPLES, generator)
    target = torch.randint(0, 3, (EXAMPLES,), generator=generator)
    return imported(module, inputs, target)


@functools.cache
def gauss_newton(family: str) -> Tensor:
    own = load(family)
    gradient = GgnCurvature().gradient_of(own.objective)
    return torch.func.jacrev(lambda t: gradient(t, own.buffers, own.batch)[0])(own.theta)


@pytest.mark.parametrize("family", FAMILIES)
def test_trace_is_that_of_the_gauss_newton_matrix(family: str) -> None:
    # The corrected eigenvalues are the diagonal of the matrix in an orthogonal basis.
    eigenvalues = load(family).ekfac().eigenvalues

    torch.testing.assert_close(eigenvalues.sum(), gauss_newton(family).trace())


@pytest.mark.parametrize("family", FAMILIES)
def test_eigenvalues_are_the_diagonal_in_the_eigenbasis(family: str) -> None:
    own = load(family)
    curvature = own.ekfac()

    basis = curvature.from_eigenbasis(torch.eye(own.layout.size, dtype=F64))

    found = (basis @ gauss_newton(family) * basis).sum(dim=-1)
    torch.testing.assert_close(curvature.eigenvalues, found, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_diagonal_is_exact(family: str) -> None:
    diagonal = load(family).ekfac().diagonal

    truth = gauss_newton(family).diag()
    torch.testing.assert_close(diagonal, truth, rtol=1e-9, atol=1e-12)


def test_a_segment_leaves_out_what_the_loss_does_not_depend_on() -> None:
    own = load("transformer")  # softmax over keys does not see what all keys have in common
    curvature = SegmentCurvature(own.ekfac())
    gradient = curvature.gradient_of(own.objective)

    hessian = torch.func.jacrev(lambda t: gradient(t, own.buffers, own.batch)[0])(own.theta)

    bias = own.layout.unflatten(hessian)["encoder.self_attn.in_proj_bias"]  # [P, 3 E]
    unmasked = own.layout.unflatten(own.ekfac().product(torch.eye(own.layout.size, dtype=F64)))
    assert bool((bias[:, 8:16] == 0).all())
    assert bool((bias[:, 16:] != 0).any())
    assert bool((unmasked["encoder.self_attn.in_proj_bias"][:, 8:16].abs() > 1e-6).any())


SITES = {
    "mlp": ["0.weight", "2.weight", "4.weight"],
    "cnn": ["0.weight", "4.weight", "10.weight"],
    "transformer": [
        "tokens.weight",
        "encoder.self_attn.in_proj_weight",
        "encoder.self_attn.out_proj.weight",
        "encoder.linear1.weight",
        "encoder.linear2.weight",
        "head.weight",
    ],
    "attention": ["qkv.weight", "out.weight"],  # the head is tied to the embedding
}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_are_used_once_have_a_basis(family: str) -> None:
    assert [basis.weight for basis in load(family).ekfac().bases] == SITES[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_closer_than_the_diagonal(family: str) -> None:
    truth = gauss_newton(family)
    curvature = load(family).ekfac()

    dense = curvature.product(torch.eye(len(truth), dtype=F64))

    assert (dense - truth).norm() < 0.98 * (torch.diag(truth.diag()) - truth).norm()


def test_frozen_parameters_have_no_curvature() -> None:
    own = load("mlp")
    frozen = {"2.weight", "2.bias", "4.bias"}

    curvature = own.ekfac(trainable=frozenset(own.layout.names) - frozen)

    named = own.layout.unflatten(curvature.eigenvalues)
    assert all(bool((values == 0).all()) == (name in frozen) for name, values in named.items())
    whole = own.layout.unflatten(own.ekfac().eigenvalues)
    torch.testing.assert_close(named["0.weight"], whole["0.weight"])


def test_all_random_signs_together_are_a_basis() -> None:
    own = load("mlp")
    signs = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=F64)
    batch = own.batch

    sampled = ekfac(
        own.objective,
        own.theta,
        own.buffers,
        sample=CurvatureSample(
            inputs=batch.inputs,
            target=batch.target,
            factors=batch.weights / batch.denominator,
            directions=(signs / 8**0.5).expand(EXAMPLES, 8, 3),
        ),
        trainable=frozenset(own.layout.names),
    )

    torch.testing.assert_close(sampled.eigenvalues, own.ekfac().eigenvalues)


def test_directions_are_drawn_where_outputs_are_many() -> None:
    like = torch.zeros((), dtype=torch.float32)

    few = output_directions((2, EXACT_OUTPUTS), like=like, draw=no_draw)
    many = output_directions((2, EXACT_OUTPUTS + 1), like=like, draw=torch.ones)

    assert few.shape == (2, EXACT_OUTPUTS, EXACT_OUTPUTS)
    assert torch.equal(many, torch.ones(2, 1, EXACT_OUTPUTS + 1))


def test_weights_of_examples_scale_their_curvature() -> None:
    own = load("mlp")
    one = torch.zeros(EXAMPLES, dtype=F64)
    one[3] = 2.0

    heavy = replace(own, batch=replace(own.batch, weights=one)).ekfac()

    trace = torch.func.hessian(
        lambda z: own.objective.loss_of_output(z, replace(own.batch, weights=one))
    )
    output = own.objective.output(own.theta, own.buffers, own.batch)[0]
    jacobian = torch.func.jacrev(
        lambda t: own.objective.output(t, own.buffers, own.batch)[0].flatten()
    )(own.theta)
    hessian = trace(output).reshape(len(jacobian), -1)
    expected = (jacobian.T @ hessian @ jacobian).trace()
    torch.testing.assert_close(heavy.eigenvalues.sum(), expected)


def test_examples_that_interact_are_refused() -> None:
    own, module = load("cnn"), build_module("cnn")
    model = import_module(module.eval(), own.batch.inputs[0])
    objective = GraphObjective(
        model,
        bindings=Bindings(inputs={model.inputs[0].name: "input"}, target="label"),
        loss=Loss(kind="cross_entropy"),
        layout=own.layout,
        mode="train",
    )

    with pytest.raises(UnsupportedError, match="batch normalisation"):
        replace(own, objective=objective).ekfac()


def test_a_bias_that_is_used_twice_is_diagonal() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 4)
            self.second.bias = self.first.bias

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(inputs)))

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(EXAMPLES, 5, generator=generator, dtype=F64)
    target = torch.randint(0, 4, (EXAMPLES,), generator=generator)

    own = imported(Shared().double(), inputs, target)

    assert {basis.bias for basis in own.ekfac().bases} == {None}
