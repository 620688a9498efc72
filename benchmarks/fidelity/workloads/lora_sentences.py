"""The rated sentences of ``sentences``, whose last two stages train low-rank adapters only.

Before ``movies`` every attention projection gets an adapter and all other parameters are frozen;
``editorials`` goes on with the same adapters. Without ``products``, say, the adapters start from
the same initial values on top of other base weights.
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from benchmarks.fidelity.workload import Stage, Workload, generator_for
from benchmarks.fidelity.workloads.sentences import RATE, sentences

ADAPTED_STAGES = ("movies", "editorials")
ADAPTED_LAYERS = ("query_key_value", "attended")
RANK = 4
SCALE = 2.0


def lora_sentences(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    name = "lora_sentences"

    def make_optimizer(model: nn.Module, stage: Stage) -> Optimizer:
        if stage.name in ADAPTED_STAGES:
            adapt(model, generator_for("adapters", name, seed, rerun))
        return AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)

    return replace(sentences(seed, rerun), name=name, make_optimizer=make_optimizer)


class Adapted(nn.Module):
    """A frozen linear layer plus a product of two thin matrices (Hu et al. 2021, 2106.09685).

    Args:
        base: The layer.
        generator: Draws the first matrix; the second one starts at zero.
    """

    def __init__(self, base: nn.Linear, generator: Generator) -> None:
        super().__init__()
        self.base = base
        spread = base.in_features**-0.5
        self.down = nn.Parameter(torch.randn(RANK, base.in_features, generator=generator) * spread)
        self.up = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's output, [..., out], of states [..., in]."""
        thin = functional.linear(states, self.down)
        output: Tensor = self.base(states) + SCALE * functional.linear(thin, self.up)
        return output


def adapt(model: nn.Module, generator: Generator) -> None:
    """Freeze the model and add adapters, in place; nothing happens where they are there."""
    if any(isinstance(module, Adapted) for module in model.modules()):
        return
    model.requires_grad_(requires_grad=False)
    found = [
        (module, name)
        for module in model.modules()
        for name, child in module.named_children()
        if name in ADAPTED_LAYERS and isinstance(child, nn.Linear)
    ]
    for module, name in found:
        child = module.get_submodule(name)
        assert isinstance(child, nn.Linear)
        setattr(module, name, Adapted(child, generator))
