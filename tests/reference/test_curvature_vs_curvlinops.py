"""Curvature against curvlinops, in float64: Gauss-Newton products, and EK-FAC's.

EK-FAC is compared in the setting where the definitions coincide: output curvature summed over a
basis (``type-2``), biases joined to their weights, factors of weights that are shared over
positions taken position by position (``expand``), all modules with a site.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from curvlinops import EKFACLinearOperator, FisherType, GGNLinearOperator, KFACType
from torch import Tensor, nn

from auditor.curvature.ggn import GgnCurvature
from auditor.stagelog.log import Loss
from tests.support.curvatures import Imported, imported

F64 = torch.float64
EXAMPLES = 24


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
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        x = x + self.out(torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1) @ v)
        x = x + self.down(nn.functional.gelu(self.up(x)))
        return self.head(x.mean(dim=1))


@dataclass(frozen=True)
class Case:
    """A network, the shape of its examples, and a loss in both worlds."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    kind: str
    torchs: Callable[[], nn.Module]


CASES = {
    "mlp, cross entropy": Case(mlp, (5,), "cross_entropy", nn.CrossEntropyLoss),
    "mlp, mse": Case(mlp, (5,), "mse", nn.MSELoss),
    "mlp, binary": Case(mlp, (5,), "binary_cross_entropy_with_logits", nn.BCEWithLogitsLoss),
    "cnn, cross entropy": Case(cnn, (2, 5, 5), "cross_entropy", nn.CrossEntropyLoss),
    "cnn, mse": Case(cnn, (2, 5, 5), "mse", nn.MSELoss),
}

NOT_ALL_LINEAR = {
    "cnn with batch normalisation": Case(
        normalised_cnn, (2, 5, 5), "cross_entropy", nn.CrossEntropyLoss
    ),
    "transformer": Case(Transformer, (3, 4), "cross_entropy", nn.CrossEntropyLoss),
}
"""Networks with parameters outside linear layers and convolutions."""


@functools.cache
def load(name: str) -> tuple[Imported, nn.Module, Tensor, Tensor]:
    case, generator = (CASES | NOT_ALL_LINEAR)[name], torch.Generator().manual_seed(0)
    module = case.build().to(F64).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=F64) * 0.6)
    inputs = torch.randn(EXAMPLES, *case.shape, generator=generator, dtype=F64)
    classes = torch.randint(0, 3, (EXAMPLES,), generator=generator)
    values = torch.randint(0, 2, (EXAMPLES, 3), generator=generator).to(F64)
    target = classes if case.kind == "cross_entropy" else values
    return imported(module, inputs, target, loss=Loss(kind=case.kind)), module, inputs, target


def directions(own: Imported) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, own.layout.size, generator=generator, dtype=F64)


def in_layout(own: Imported, module: nn.Module, vectors: Tensor) -> Tensor:
    """Return vectors [..., P] from our layout in the module's order."""
    named = own.layout.unflatten(vectors)
    return torch.cat([named[n].flatten(1) for n, _ in module.named_parameters()], dim=-1)


@pytest.mark.parametrize("case", CASES | NOT_ALL_LINEAR)
def test_gauss_newton_products_agree(case: str) -> None:
    own, module, inputs, target = load(case)
    vectors = directions(own)
    parameters = [p for _, p in module.named_parameters()]

    loss = (CASES | NOT_ALL_LINEAR)[case].torchs()
    theirs = GGNLinearOperator(module, loss, parameters, [(inputs, target)])
    gradient = GgnCurvature().gradient_of(own.objective)

    def product(vector: Tensor) -> Tensor:
        def of_theta(theta: Tensor) -> Tensor:
            return gradient(theta, own.buffers, own.batch)[0]

        return torch.func.jvp(of_theta, (own.theta,), (vector,))[1]

    ours = in_layout(own, module, torch.func.vmap(product)(vectors))
    truth = (theirs @ in_layout(own, module, vectors).T).T
    torch.testing.assert_close(ours, truth.detach(), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_ekfac_products_agree(case: str) -> None:
    own, module, inputs, target = load(case)
    vectors = directions(own)
    parameters = [p for _, p in module.named_parameters()]

    theirs = EKFACLinearOperator(
        module,
        CASES[case].torchs(),
        parameters,
        [(inputs, target)],
        fisher_type=FisherType.TYPE2,
        kfac_approx=KFACType.EXPAND,
        separate_weight_and_bias=False,
        check_deterministic=False,
    )

    ours = in_layout(own, module, own.ekfac().product(vectors))
    truth = (theirs @ in_layout(own, module, vectors).T).T
    torch.testing.assert_close(ours, truth.detach(), rtol=1e-6, atol=1e-10)
