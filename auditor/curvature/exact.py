"""Exact curvature: Hessian-vector products of the recorded minibatch loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.model.objective import Minibatch, Objective


@final
@dataclass(frozen=True)
class ExactCurvature:
    """H is the Hessian of each step's own minibatch loss (forward over reverse, or reverse twice).

    Cost: about two gradients for each product with the Jacobian. Memory: twice the activations.
    """

    def gradient_of(self, objective: Objective) -> GradientFunction:
        """Return ``grad(loss)``, differentiable."""
        return mean_gradient(objective)


def mean_gradient(objective: Objective) -> GradientFunction:
    """Return (theta, buffers, batch) -> (gradient of the weighted mean loss, [P]; new buffers)."""

    def loss(
        theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return objective.loss(theta, buffers, batch)

    return torch.func.grad(loss, has_aux=True)
