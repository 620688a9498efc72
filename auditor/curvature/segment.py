"""One curvature for a segment of steps: the gradient is each step's own, its derivative is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from auditor.curvature.base import GradientFunction
from auditor.curvature.eigen import EigenCurvature
from auditor.curvature.exact import mean_gradient
from auditor.model.objective import Minibatch, Objective


@final
@dataclass(frozen=True, eq=False)  # the same one only: its tensors have no equality
class SegmentCurvature:
    """H is the same for all steps of a segment: an EK-FAC of their loss.

    Buffers keep their dependence on the buffers before the step, not that on theta. Cost: a
    gradient and a product in the eigenbasis a step.

    Args:
        eigen: In the layout of the segment's stage.
    """

    eigen: EigenCurvature

    def gradient_of(self, objective: Objective) -> GradientFunction:
        """Return ``grad(loss)`` with the derivative ``eigen.product``."""
        gradient_function = mean_gradient(objective)

        def gradient(
            theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
        ) -> tuple[Tensor, dict[str, Tensor]]:
            mean, new_buffers = gradient_function(theta.detach(), buffers, batch)
            # The difference is zero: it adds a derivative and nothing to the value.
            return mean.detach() + self.eigen.product(theta - theta.detach()), new_buffers

        return gradient
