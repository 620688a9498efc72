"""What training minimises, as a pure function of theta: the objective and its minibatches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from auditor.model.layout import ParameterLayout


@dataclass(frozen=True, kw_only=True, slots=True)
class Minibatch:
    """The examples of one step; leading axes ``...`` are lanes.

    A pytree of tensors: it passes through ``vmap``, ``grad`` and ``trace`` as an argument.

    Args:
        inputs: Graph inputs in the graph's order, each [..., B, *shape].
        target: Target of the loss, [..., B, *shape].
        weights: Factor w_i of each example's loss, [..., B].
        denominator: What the weighted sum is divided by, [...].
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    weights: Tensor
    denominator: Tensor


torch.export.register_dataclass(Minibatch, serialized_type_name="auditor.model.Minibatch")


class Objective(Protocol):
    """Mean loss of a minibatch as a pure function of the parameters, one lane."""

    @property
    def layout(self) -> ParameterLayout:
        """Where each parameter lies in theta."""

    def loss(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return ``sum_i w_i l_i / denominator``, [], and the buffers after the forward pass.

        Pure and safe inside ``torch.func`` transforms: grad, jvp, forward over reverse, vmap.

        Args:
            theta: Parameters, [P].
            buffers: Buffers by name; the result has the same names.
            batch: The examples, without lane axes.
        """
