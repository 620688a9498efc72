"""Gauss-Newton curvature: the Hessian of the loss as if the model were linear in theta."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.model.objective import Minibatch, Objective


@final
@dataclass(frozen=True)
class GgnCurvature:
    r"""H is the generalised Gauss-Newton matrix of each step's own minibatch loss.

    .. math:: H = J^T H_{out} J, \qquad J = \partial z / \partial \theta, \quad
        H_{out} = \partial^2 L / \partial z^2

    for outputs z and mean loss L(z); positive semi-definite where L is convex, as all of
    ``auditor.model.losses`` are, and the Hessian itself where z is linear in theta. Dependence on
    buffers is kept in the same way, through z. Cost: about 2.3 gradients for gradient and
    product together. Memory: twice the activations.

    References:
        Schraudolph (2002), doi 10.1162/08997660260028683; Martens (2020), arXiv 1412.1193.
    """

    def gradient_of(self, objective: Objective) -> GradientFunction:
        """Return ``grad(loss)`` whose derivative leaves out that of the model's Jacobian."""

        def gradient(
            theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
        ) -> tuple[Tensor, dict[str, Tensor]]:
            held = {name: buffer.detach() for name, buffer in buffers.items()}

            def outputs(parameters: Tensor) -> Tensor:
                return objective.output(parameters, held, batch)[0]

            def loss(output: Tensor) -> Tensor:
                return objective.loss_of_output(output, batch)

            # The pullback J^T is held at theta; what moves with theta is dL/dz alone.
            pullback = torch.func.vjp(outputs, theta.detach())[1]
            output, new_buffers = objective.output(theta, buffers, batch)
            (mean_gradient,) = pullback(torch.func.grad(loss)(output))
            return mean_gradient, new_buffers

        return gradient
