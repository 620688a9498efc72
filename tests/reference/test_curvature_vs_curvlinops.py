"""Curvature of imported models against curvlinops on torch's fx export, in float64.

Ours goes through an ONNX file and back. Theirs sees what ``torch.export`` makes of the module; for
EK-FAC, whose hooks want modules, what ``torch.fx.symbolic_trace`` makes of it.

EK-FAC is compared in the setting where the definitions coincide: output curvature summed over a
basis (``type-2``), biases joined to their weights, factors of weights that are shared over
positions taken position by position (``expand``), modules with a site.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from curvlinops import (
    EKFACLinearOperator,
    FisherType,
    GGNLinearOperator,
    HessianLinearOperator,
    KFACType,
)
from torch import Tensor, nn
from torch.fx import GraphModule, symbolic_trace
from torch.nn.attention import SDPBackend, sdpa_kernel

from auditor.curvature.ggn import GgnCurvature
from auditor.stagelog.log import Loss
from tests.support.curvatures import Imported, imported
from tests.support.models import LENGTH, VOCABULARY, CausalSelfAttention, TransformerClassifier
from tests.support.models import cnn as pooled_cnn

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")
F64 = torch.float64
EXAMPLES = 24
POSITIONS = 3


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, stride=2),
        nn.Tanh(),
        nn.Conv2d(3, 4, 2, dilation=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def normalised_cnn() -> nn.Module:
    """Return a network whose running statistics are those of no batch."""
    norm = nn.BatchNorm2d(3)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.tensor([0.3, -0.2, 0.1]))
    norm.running_var.copy_(torch.tensor([0.5, 1.5, 2.0]))
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), norm, nn.Tanh(), nn.Flatten(), nn.Linear(27, 3)
    )


class Transformer(nn.Module):
    """One block of causal attention and feed-forward; a mean over positions; a head."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).split(4, dim=-1)
        scores = (q @ k.transpose(-1, -2)) / 2
        hidden = torch.ones(POSITIONS, POSITIONS, dtype=torch.bool).triu(1)
        x = x + self.out(torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1) @ v)
        x = x + self.down(nn.functional.gelu(self.up(x)))
        return self.head(x.mean(dim=1))


@dataclass(frozen=True)
class Case:
    """A network, the shape of its examples (None for tokens), and a loss in both worlds."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | None
    kind: str
    torchs: Callable[[], nn.Module]


CASES = {
    "mlp, cross entropy": Case(mlp, (5,), "cross_entropy", nn.CrossEntropyLoss),
    "mlp, mse": Case(mlp, (5,), "mse", nn.MSELoss),
    "mlp, binary": Case(mlp, (5,), "binary_cross_entropy_with_logits", nn.BCEWithLogitsLoss),
    "cnn, cross entropy": Case(cnn, (2, 5, 5), "cross_entropy", nn.CrossEntropyLoss),
    "cnn, mse": Case(cnn, (2, 5, 5), "mse", nn.MSELoss),
    "cnn, batch norm": Case(normalised_cnn, (2, 5, 5), "cross_entropy", nn.CrossEntropyLoss),
    "attention block": Case(Transformer, (POSITIONS, 4), "cross_entropy", nn.CrossEntropyLoss),
}
FAMILIES = {
    "cnn with pooling": Case(pooled_cnn, (1, 8, 8), "cross_entropy", nn.CrossEntropyLoss),
    "transformer": Case(TransformerClassifier, None, "cross_entropy", nn.CrossEntropyLoss),
    "attention, tied head": Case(CausalSelfAttention, None, "cross_entropy", nn.CrossEntropyLoss),
}
"""Networks with weights that have several uses, or that fx cannot trace."""


@dataclass(frozen=True)
class Loaded:
    """A network as we import it and as torch exports it, and a minibatch."""

    own: Imported
    module: nn.Module
    exported: GraphModule
    inputs: Tensor
    target: Tensor
    loss: nn.Module

    def in_layout(self, vectors: Tensor) -> Tensor:
        """Return vectors [..., P] from our layout in the module's order."""
        named = self.own.layout.unflatten(vectors)
        lead = vectors.shape[:-1]
        names = [name for name, _ in self.module.named_parameters()]
        return torch.cat([named[name].reshape(*lead, -1) for name in names], dim=-1)


@functools.cache
def load(name: str) -> Loaded:
    case, generator = (CASES | FAMILIES)[name], torch.Generator().manual_seed(0)
    module = case.build().to(F64).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=F64) * 0.6)
    if case.shape is None:
        inputs = torch.randint(0, VOCABULARY, (EXAMPLES, LENGTH), generator=generator)
    else:
        inputs = torch.randn(EXAMPLES, *case.shape, generator=generator, dtype=F64)
    classes = torch.randint(0, 3, (EXAMPLES,), generator=generator)
    values = torch.randint(0, 2, (EXAMPLES, 3), generator=generator).to(F64)
    target = classes if case.kind == "cross_entropy" else values
    return Loaded(
        own=imported(module, inputs, target, loss=Loss(kind=case.kind)),
        module=module,
        exported=fx_export(module, inputs),
        inputs=inputs,
        target=target,
        loss=case.torchs(),
    )


def fx_export(module: nn.Module, inputs: Tensor) -> GraphModule:
    """Return the graph that ``torch.export`` makes, in operations that curvlinops can derive.

    It differentiates forward over a vectorised reverse pass, which torch does not have for silu,
    and gets wrong for the weights of a fused layer norm: these are written out.
    """
    aten = torch.ops.aten
    table = torch.export.default_decompositions()
    table.update(torch._decomp.get_decompositions([aten.native_layer_norm, aten.silu]))
    # Fused attention has no second derivatives.
    with sdpa_kernel(SDPBackend.MATH):
        exported = torch.export.export(module, (inputs,)).run_decompositions(table).module()
    assert isinstance(exported, GraphModule)
    return exported


def directions(own: Imported) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, own.layout.size, generator=generator, dtype=F64)


def slopes_of(gradient: Callable[[Tensor], Tensor], theta: Tensor, vectors: Tensor) -> Tensor:
    """Return the derivative of a gradient along each of the vectors, [N, P]."""
    return torch.func.vmap(lambda v: torch.func.jvp(gradient, (theta,), (v,))[1])(vectors)


def on_export(
    operator: type[GGNLinearOperator | HessianLinearOperator], loaded: Loaded, vectors: Tensor
) -> Tensor:
    """Return curvlinops' products with vectors [N, P] on the graph of ``torch.export``."""
    names = [name for name, _ in loaded.exported.named_parameters()]
    assert names == [name for name, _ in loaded.module.named_parameters()]
    parameters = list(loaded.exported.parameters())
    theirs = operator(loaded.exported, loaded.loss, parameters, [(loaded.inputs, loaded.target)])
    return (theirs @ loaded.in_layout(vectors).T).T.detach()


@pytest.mark.parametrize("case", CASES | FAMILIES)
def test_gauss_newton_products_agree(case: str) -> None:
    loaded = load(case)
    own, vectors = loaded.own, directions(loaded.own)
    gradient = GgnCurvature().gradient_of(own.objective)

    ours = slopes_of(lambda theta: gradient(theta, own.buffers, own.batch)[0], own.theta, vectors)

    truth = on_export(GGNLinearOperator, loaded, vectors)
    torch.testing.assert_close(loaded.in_layout(ours), truth, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("case", CASES | FAMILIES)
def test_hessian_products_agree(case: str) -> None:
    loaded = load(case)
    own, vectors = loaded.own, directions(loaded.own)
    gradient = torch.func.grad(lambda theta: own.objective.loss(theta, own.buffers, own.batch)[0])

    ours = slopes_of(gradient, own.theta, vectors)

    truth = on_export(HessianLinearOperator, loaded, vectors)
    torch.testing.assert_close(loaded.in_layout(ours), truth, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_ekfac_products_agree(case: str) -> None:
    loaded = load(case)
    own, vectors = loaded.own, directions(loaded.own)
    traced = symbolic_trace(loaded.module)
    linear = {
        f"{name}.{part}"
        for name, layer in traced.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        for part, _ in layer.named_parameters()
    }
    chosen = [name for name, _ in loaded.module.named_parameters() if name in linear]
    named = dict(traced.named_parameters())

    theirs = EKFACLinearOperator(
        traced,
        loaded.loss,
        [named[name] for name in chosen],
        [(loaded.inputs, loaded.target)],
        fisher_type=FisherType.TYPE2,
        kfac_approx=KFACType.EXPAND,
        separate_weight_and_bias=False,
        check_deterministic=False,
    )

    def only(vectors: Tensor) -> Tensor:
        split = own.layout.unflatten(vectors)
        return torch.cat([split[name].flatten(1) for name in chosen], dim=-1)

    ours = only(own.ekfac().product(vectors))
    truth = (theirs @ only(vectors).T).T.detach()
    torch.testing.assert_close(ours, truth, rtol=1e-6, atol=1e-10)
