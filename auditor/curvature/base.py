"""The interface of curvature models: how a gradient depends on the state, when differentiated."""

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from auditor.model.objective import Minibatch, Objective

GradientFunction = Callable[
    [Tensor, Mapping[str, Tensor], Minibatch], tuple[Tensor, dict[str, Tensor]]
]
"""(theta [P], buffers, batch) -> (mean gradient [P], buffers after the forward pass)."""


class Curvature(Protocol):
    """A choice of H in the step's Jacobian J_k = dPhi_k / dxi."""

    def gradient_of(self, objective: Objective) -> GradientFunction:
        """Return the gradient as a function whose own derivative is this curvature.

        The value is always the exact mean gradient; only its derivatives differ.
        """
