"""No curvature: the gradient is held constant when a step is differentiated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.curvature.exact import mean_gradient
from auditor.model.objective import Minibatch, Objective


@final
@dataclass(frozen=True)
class NoCurvature:
    """H = 0: what is left of J_k are momentum, weight decay and the preconditioner's memory.

    Buffers keep their dependence on the buffers before the step, not that on theta. Cost: one
    gradient a step, which a caller that has the trajectory does not even need.
    """

    def gradient_of(self, objective: Objective) -> GradientFunction:
        """Return ``grad(loss)`` with its derivatives removed."""
        gradient_function = mean_gradient(objective)

        def constant_gradient(
            theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
        ) -> tuple[Tensor, dict[str, Tensor]]:
            gradient, new_buffers = gradient_function(theta.detach(), buffers, batch)
            return gradient.detach(), new_buffers

        return constant_gradient
