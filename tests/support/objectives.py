"""Small smooth objectives written functionally, so that dynamics are tested without graphs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.model.layout import ParameterLayout
from auditor.model.objective import Minibatch

FEATURES, HIDDEN, CLASSES = 4, 3, 3
MLP_SHAPES = {
    "body.weight": (HIDDEN, FEATURES),
    "body.bias": (HIDDEN,),
    "head.weight": (CLASSES, HIDDEN),
    "head.bias": (CLASSES,),
}
BUFFER = "body.running"


@final
@dataclass(frozen=True)
class MlpObjective:
    """Cross entropy of a tanh network whose hidden layer is centred by a running mean.

    The head may be absent from the layout: then it is zero, as before it is added. The buffer
    feeds the loss, so that its gating matters; without it, nothing is subtracted.
    """

    layout: ParameterLayout

    def logits(
        self, theta: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        named = self.layout.unflatten(theta)
        hidden = inputs @ named["body.weight"].T + named["body.bias"]
        running = buffers.get(BUFFER, torch.zeros_like(named["body.bias"]))
        activation = torch.tanh(hidden - 0.5 * running)
        weight = named.get("head.weight")
        outputs = activation if weight is None else activation @ weight.T + named["head.bias"]
        moved = 0.9 * running + 0.1 * hidden.mean(0)
        return outputs, {BUFFER: moved} if BUFFER in buffers else {}

    def forward(
        self, theta: Tensor, buffers: Mapping[str, Tensor], inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return (self.logits(theta, buffers, inputs[0])[0],)

    def loss(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, new_buffers = self.output(theta, buffers, batch)
        return self.loss_of_output(outputs, batch), new_buffers

    def output(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.logits(theta, buffers, batch.inputs[0])

    def loss_of_output(self, output: Tensor, batch: Minibatch) -> Tensor:
        picked = torch.log_softmax(output, -1).gather(-1, batch.target[:, None])[:, 0]
        return -(batch.weights * picked).sum() / batch.denominator


@final
@dataclass(frozen=True)
class LinearRegression:
    """Half the squared error of a linear model: a quadratic loss, so that steps are affine."""

    layout: ParameterLayout

    def loss(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        output, new_buffers = self.output(theta, buffers, batch)
        return self.loss_of_output(output, batch), new_buffers

    def output(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return batch.inputs[0] @ theta, {}

    def loss_of_output(self, output: Tensor, batch: Minibatch) -> Tensor:
        residual = output - batch.target
        return 0.5 * (batch.weights * residual**2).sum() / batch.denominator
