"""Imported graphs against the torch modules they were exported from, in float64.

Forward values, gradients, directional derivatives, Hessian products, lanes and per-example
gradients of an MLP, a CNN with batch normalisation, a transformer classifier with a padding mask,
and causal attention with tied embeddings.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from auditor.errors import DomainError
from auditor.model.layout import ParameterLayout
from auditor.model.objective import GraphObjective, Minibatch
from auditor.model.onnx_model import OnnxModel
from auditor.model.traced import trace
from auditor.stagelog.log import Bindings, Loss
from tests.support.models import (
    FAMILIES,
    VOCABULARY,
    build_module,
    import_module,
    named_buffers,
    named_parameters,
)

EXAMPLES = 5
Named = dict[str, Tensor]


@dataclass(frozen=True)
class Imported:
    """A module in evaluation mode, its imported graph, and a minibatch."""

    module: nn.Module
    model: OnnxModel
    inputs: Tensor
    params: Named
    buffers: Named

    def ours(self, params: Named, inputs: Tensor | None = None) -> Tensor:
        x = self.inputs if inputs is None else inputs
        plan = self.model.specialise((tuple(x.shape),), mode="eval")
        return plan(params, self.buffers, x).values[0]

    def torchs(self, params: Named, inputs: Tensor | None = None) -> Tensor:
        x = self.inputs if inputs is None else inputs
        # Fused attention has neither forward nor second derivatives.
        with sdpa_kernel(SDPBackend.MATH):
            return functional_call(self.module, (params, self.buffers), (x,))

    def direction(self) -> Named:
        generator = torch.Generator().manual_seed(7)
        return {
            name: torch.randn(p.shape, generator=generator, dtype=p.dtype)
            for name, p in self.params.items()
        }


@functools.cache
def load(family: str) -> Imported:
    module = build_module(family).eval()
    inputs = FAMILIES[family].inputs(EXAMPLES, torch.Generator().manual_seed(1))
    return Imported(
        module=module,
        model=import_module(module, inputs),
        inputs=inputs,
        params=named_parameters(module),
        buffers=named_buffers(module),
    )


def scalar(output: Tensor) -> Tensor:
    """Return a loss that has all derivatives."""
    return torch.logsumexp(output, dim=-1).mean() + output.square().mean()


def of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: scalar(function(*arguments))


@pytest.fixture(params=FAMILIES, scope="module")
def imported(request: pytest.FixtureRequest) -> Imported:
    return load(request.param)


def test_forward_equals_module(imported: Imported) -> None:
    torch.testing.assert_close(imported.ours(imported.params), imported.torchs(imported.params))


def test_any_batch_length_equals_module(imported: Imported) -> None:
    one = imported.inputs[:1]

    torch.testing.assert_close(
        imported.ours(imported.params, one), imported.torchs(imported.params, one)
    )


def test_gradient_equals_module(imported: Imported) -> None:
    torch.testing.assert_close(
        grad(of(imported.ours))(imported.params), grad(of(imported.torchs))(imported.params)
    )


def test_directional_derivative_equals_reverse_mode(imported: Imported) -> None:
    direction = imported.direction()

    _, tangent = jvp(imported.ours, (imported.params,), (direction,))

    output, pull = vjp(imported.torchs, imported.params)
    (cotangent,) = pull(torch.ones_like(output))
    expected = sum((cotangent[name] * direction[name]).sum() for name in direction)
    torch.testing.assert_close(tangent.sum(), expected)


def test_hessian_product_equals_module(imported: Imported) -> None:
    direction = imported.direction()

    _, ours = jvp(grad(of(imported.ours)), (imported.params,), (direction,))

    def slope(params: Named) -> Tensor:
        gradient = grad(of(imported.torchs))(params)
        return sum((gradient[name] * direction[name]).sum() for name in direction)

    torch.testing.assert_close(ours, grad(slope)(imported.params))


def test_lanes_equal_one_after_the_other(imported: Imported) -> None:
    lanes = [imported.params, {name: 0.9 * p for name, p in imported.params.items()}]
    stacked = {name: torch.stack([lane[name] for lane in lanes]) for name in imported.params}

    values = vmap(imported.ours)(stacked)
    gradients = vmap(grad(of(imported.ours)))(stacked)

    for i, lane in enumerate(lanes):
        torch.testing.assert_close(values[i], imported.torchs(lane))
        torch.testing.assert_close(
            {name: g[i] for name, g in gradients.items()}, grad(of(imported.torchs))(lane)
        )


def test_per_example_gradients_equal_module(imported: Imported) -> None:
    def one(params: Named, example: Tensor) -> Tensor:
        return scalar(imported.ours(params, example.unsqueeze(0)))

    per_example = vmap(grad(one), in_dims=(None, 0))(imported.params, imported.inputs)

    for i, example in enumerate(imported.inputs):
        expected = grad(of(imported.torchs))(imported.params, example.unsqueeze(0))
        torch.testing.assert_close({n: g[i] for n, g in per_example.items()}, expected)


def test_derivative_of_per_example_gradients_equals_module(imported: Imported) -> None:
    """Of fused normalisations torch gets this wrong, by their scale."""

    def one(params: Named, example: Tensor) -> Tensor:
        return scalar(imported.ours(params, example.unsqueeze(0)))

    def per_example(params: Named) -> Named:
        return vmap(grad(one), in_dims=(None, 0))(params, imported.inputs)

    direction = imported.direction()

    _, moved = jvp(per_example, (imported.params,), (direction,))

    for i, example in enumerate(imported.inputs):

        def slope(params: Named, example: Tensor = example) -> Tensor:
            gradient = grad(of(imported.torchs))(params, example.unsqueeze(0))
            return sum((gradient[name] * direction[name]).sum() for name in direction)

        expected = grad(slope)(imported.params)
        torch.testing.assert_close({n: g[i] for n, g in moved.items()}, expected)


def test_hessian_product_over_lanes_equals_lane_by_lane(imported: Imported) -> None:
    def product(params: Named, direction: Named) -> Named:
        return jvp(grad(of(imported.ours)), (params,), (direction,))[1]

    direction = imported.direction()
    params = {name: torch.stack([p, 0.9 * p]) for name, p in imported.params.items()}

    lanes = vmap(product, in_dims=(0, None))(params, direction)

    torch.testing.assert_close(
        {name: lane[0] for name, lane in lanes.items()}, product(imported.params, direction)
    )


def test_traced_objective_equals_backward(imported: Imported) -> None:
    model = imported.model
    layout = ParameterLayout(
        tuple(model.params), tuple(info.shape for info in model.params.values())
    )
    objective = GraphObjective(
        model,
        bindings=Bindings(inputs={"input_0": "x"}, target="y"),
        loss=Loss(kind="cross_entropy"),
        layout=layout,
        mode="eval",
    )
    target = torch.arange(EXAMPLES) % 3
    batch = Minibatch(
        inputs=(imported.inputs,),
        target=target,
        weights=torch.ones(EXAMPLES, dtype=torch.float64),
        denominator=torch.tensor(float(EXAMPLES), dtype=torch.float64),
    )
    theta = layout.flatten(imported.params)
    step = torch.func.grad_and_value(objective.loss, has_aux=True)

    gradient, (value, buffers) = trace(step, (theta, imported.buffers, batch))(
        theta, imported.buffers, batch
    )

    module = imported.module
    module.zero_grad()
    expected = nn.functional.cross_entropy(module(imported.inputs), target)
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(
        layout.unflatten(gradient), {name: p.grad for name, p in module.named_parameters()}
    )
    torch.testing.assert_close(buffers, imported.buffers)


def test_token_beyond_the_vocabulary_is_refused() -> None:
    imported = load("transformer")
    tokens = imported.inputs.clone()
    tokens[0, 0] = VOCABULARY
    traced = trace(imported.ours, (imported.params, imported.inputs))

    with pytest.raises(DomainError, match="within the tables of the model"):
        imported.ours(imported.params, tokens)
    with pytest.raises(DomainError, match="within the tables of the model"):
        traced(imported.params, tokens)


def test_batch_statistics_update_running_ones_as_torch_does() -> None:
    imported = load("cnn")
    module = build_module("cnn").train()

    plan = imported.model.specialise((tuple(imported.inputs.shape),), mode="train")
    outputs = plan(imported.params, imported.buffers, imported.inputs)

    torch.testing.assert_close(outputs.values[0], module(imported.inputs).detach())
    torch.testing.assert_close(outputs.buffers, named_buffers(module), rtol=1e-12, atol=1e-12)


def test_running_statistics_are_differentiated() -> None:
    imported = load("cnn")
    plan = imported.model.specialise((tuple(imported.inputs.shape),), mode="train")

    def variance(params: Named) -> Tensor:
        return plan(params, imported.buffers, imported.inputs).buffers["5.running_var"].sum()

    direction, step = imported.direction(), 1e-6
    moved = [
        variance({n: p + sign * step * direction[n] for n, p in imported.params.items()})
        for sign in (1, -1)
    ]

    _, tangent = jvp(variance, (imported.params,), (direction,))
    torch.testing.assert_close(tangent, (moved[0] - moved[1]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_gradient_through_batch_statistics_equals_module() -> None:
    imported = load("cnn")
    module = build_module("cnn").train()
    plan = imported.model.specialise((tuple(imported.inputs.shape),), mode="train")

    ours = grad(lambda p: scalar(plan(p, imported.buffers, imported.inputs).values[0]))(
        imported.params
    )

    scalar(module(imported.inputs)).backward()
    torch.testing.assert_close(ours, {name: p.grad for name, p in module.named_parameters()})


def test_derivative_of_lanes_with_batch_statistics_equals_each_lane() -> None:
    imported = load("cnn")
    plan = imported.model.specialise((tuple(imported.inputs.shape),), mode="train")
    direction = imported.direction()

    def gradient(params: Named) -> Named:
        return grad(lambda p: scalar(plan(p, imported.buffers, imported.inputs).values[0]))(params)

    def lanes(params: Named) -> Named:
        return vmap(gradient)({name: torch.stack([p, 0.9 * p]) for name, p in params.items()})

    _, moved = jvp(lanes, (imported.params,), (direction,))

    for i, factor in enumerate((1.0, 0.9)):
        lane = {name: factor * p for name, p in imported.params.items()}
        along = {name: factor * d for name, d in direction.items()}
        _, expected = jvp(gradient, (lane,), (along,))
        torch.testing.assert_close({n: g[i] for n, g in moved.items()}, expected)
