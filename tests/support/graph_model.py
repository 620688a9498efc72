"""Recorded graphs for synthetic runs: the same small network, or a linear one, as ONNX."""

import functools

import torch
from torch import Tensor, nn

from auditor.dynamics.computations import Computations
from auditor.dynamics.run import Run
from auditor.model.objective import GraphObjective
from auditor.model.onnx_model import OnnxModel
from auditor.stagelog.log import Bindings, Loss
from tests.support.models import import_module
from tests.support.objectives import CLASSES, FEATURES, HIDDEN, MLP_SHAPES

LINEAR_SHAPES = {"head.weight": (CLASSES, FEATURES), "head.bias": (CLASSES,)}


class _Network(nn.Module):
    """The network of ``MLP_SHAPES``, without a running mean; its head may be missing."""

    def __init__(self, *, head: bool) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, CLASSES) if head else None

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(inputs))
        return hidden if self.head is None else self.head(hidden)


class _Linear(nn.Module):
    """A linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs)


@functools.cache
def _model(names: frozenset[str]) -> OnnxModel:
    if names == frozenset(LINEAR_SHAPES):
        module: nn.Module = _Linear()
    else:
        module = _Network(head=names == frozenset(MLP_SHAPES))
    return import_module(module.double(), torch.zeros(4, FEATURES, dtype=torch.float64))


def graph_model(run: Run, stage: int) -> Computations:
    """Return the computations of the graph that has the stage's parameters."""
    layout = run.layout(stage)
    model = _model(frozenset(layout.names))
    objective = GraphObjective(
        model,
        bindings=Bindings(inputs={model.inputs[0].name: "input"}, target="label"),
        loss=Loss(kind="cross_entropy"),
        layout=layout,
        mode="eval",
    )

    def forward(
        theta: Tensor, buffers: dict[str, Tensor], inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return objective.plan(inputs)(layout.unflatten(theta), buffers, *inputs).values

    return Computations(objective=objective, forward=forward, inputs=("input",))
