"""The pipeline whose stages are audited: a plain eager torch loop, with or without a recorder.

Nothing here knows how counterfactuals are computed: the exact truth of the demo is this same loop
run again, with other batches or without a stage.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from service.demo.data import CLASSES, IMAGE_PIXELS, DemoData, Examples, load

HIDDEN_UNITS: Final = 32
BATCH_EXAMPLES: Final = 64
LEARNING_RATE: Final = 0.02
MOMENTUM: Final = 0.9
STEPS: Final[Mapping[str, int]] = {"pretrain": 60, "vendor": 60, "finetune": 40}
"""Optimizer updates of each stage, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One update's examples: which dataset they come from and which rows [B] they are."""

    examples: Examples
    indices: Tensor


def build_model(generator: Generator) -> nn.Sequential:
    """Return a 64-32-10 network with uniform initial values from ``generator``."""
    model = nn.Sequential(
        nn.Linear(IMAGE_PIXELS**2, HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, CLASSES)
    )
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
    return model


def build_optimizer(model: nn.Module) -> Optimizer:
    """Return a fresh optimizer: every stage starts without momentum."""
    return SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)


def batch_order(count: int, *, steps: int, generator: Generator) -> Tensor:
    """Return the rows of every update, [steps, B]: epoch after epoch, each in a new order."""
    needed = steps * BATCH_EXAMPLES
    epochs = -(-needed // count)
    rows = torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])
    return rows[:needed].reshape(steps, BATCH_EXAMPLES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """Everything that determines the training: data, initial values, every update's examples.

    Args:
        data: The parts of the digits.
        initial: Initial parameters by name.
        batches: What each stage uses, in order.
    """

    data: DemoData
    initial: Mapping[str, Tensor]
    batches: Mapping[str, Sequence[Batch]]

    def model(self) -> nn.Sequential:
        """Return a network with the initial parameters."""
        model = build_model(torch.Generator())
        model.load_state_dict(dict(self.initial))
        return model


def plan_pipeline(seed: int) -> Pipeline:
    """Return the pipeline of a seed: the split, the cue, initial values and batch orders."""
    generator = torch.Generator().manual_seed(seed)
    data = load(generator)
    initial = {
        name: value.detach().clone() for name, value in build_model(generator).state_dict().items()
    }
    batches = {
        name: [
            Batch(examples=examples, indices=rows)
            for rows in batch_order(
                len(examples.label), steps=STEPS[name], generator=generator
            ).unbind()
        ]
        for name, examples in data.stages.items()
    }
    return Pipeline(data=data, initial=initial, batches=batches)


def train_stage(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    *,
    before_step: Callable[[Batch], None] = lambda _: None,
) -> None:
    """Update the model on each batch; ``before_step`` is where a recorder listens."""
    for batch in batches:
        before_step(batch)
        optimizer.zero_grad()
        output = model(batch.examples.image[batch.indices])  # [B, 10]
        loss = cross_entropy(output, batch.examples.label[batch.indices])
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        optimizer.step()
