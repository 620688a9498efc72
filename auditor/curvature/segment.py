"""One curvature for a segment of steps: the gradient is each step's own, its derivative is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.curvature.eigen import EigenCurvature
from auditor.curvature.exact import mean_gradient
from auditor.model.objective import Minibatch, Objective


@final
@dataclass(frozen=True, eq=False)  # the same one only: its tensors have no equality
class SegmentCurvature:
    """H is the same for all steps of a segment: an EK-FAC of their loss.

    Rows and columns of parameters that the loss does not depend on (the bias of attention's keys)
    are zero, as in every Hessian: an eigenbasis mixes them with others, and Adam, whose second
    moment is zero there, would multiply what is mixed in by 1 / eps at every step.

    Buffers keep their dependence on the buffers before the step, not that on theta. Cost: a
    gradient and a product in the eigenbasis a step.

    Args:
        eigen: In the layout of the segment's stage.
    """

    eigen: EigenCurvature

    def gradient_of(self, objective: Objective) -> GradientFunction:
        """Return ``grad(loss)`` with the derivative ``eigen.product``."""
        gradient_function = mean_gradient(objective)
        active = self._active()

        def gradient(
            theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
        ) -> tuple[Tensor, dict[str, Tensor]]:
            mean, new_buffers = gradient_function(theta.detach(), buffers, batch)
            product = active * self.eigen.product(active * theta)
            # The difference is zero: it adds a derivative and nothing to the value.
            return mean.detach() + (product - product.detach()), new_buffers

        return gradient

    def _active(self) -> Tensor:
        """Return 1 where the loss depends on a parameter, 0 where only by rounding, [P]."""
        named = self.eigen.layout.unflatten(self.eigen.diagonal)
        # Gradients that cancel are rounding errors of a few units in the last place of the others.
        rounding = (64 * torch.finfo(self.eigen.diagonal.dtype).eps) ** 2
        active = {
            name: (d > rounding * d.max() if d.numel() else d).to(d.dtype)
            for name, d in named.items()
        }
        return self.eigen.layout.flatten(active)
