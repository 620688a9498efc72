"""Parameters by name and as one flat vector theta [P], and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import final

import torch
from torch import Tensor

from auditor.checks import require_last_axis
from auditor.errors import ShapeError


@final
@dataclass(frozen=True, slots=True)
class ParameterLayout:
    """Where each of n named parameters lies in theta [P], in order of ``names``.

    The three conversions are pure, differentiable and safe inside ``torch.func`` transforms;
    leading axes (lanes) are kept.

    Args:
        names: The n parameters, in the order of theta.
        shapes: Shape of each.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.shapes) or len(set(self.names)) != len(self.names):
            raise ShapeError(
                "parameter layout",
                expected="one shape for each of different names",
                found=f"{len(self.names)} names, {len(self.shapes)} shapes",
                remedy="Check the names of the manifest's parameters.",
            )
        object.__setattr__(self, "sizes", tuple(prod(shape) for shape in self.shapes))

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return sum(self.sizes)

    def flatten(self, named: Mapping[str, Tensor]) -> Tensor:
        """Return theta, [..., P], from tensors [..., *shape] that share their leading axes.

        Args:
            named: At least every name of the layout; others are ignored.

        Raises:
            ShapeError: If a parameter is missing, has another shape or other leading axes.
        """
        lead: torch.Size | None = None
        pieces: list[Tensor] = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = named.get(name)
            axes = 0 if tensor is None else tensor.dim() - len(shape)
            if tensor is None or axes < 0 or tuple(tensor.shape[axes:]) != shape:
                raise ShapeError(
                    f"parameters[{name}]",
                    expected=f"a tensor of shape {shape}",
                    found="none" if tensor is None else f"shape {tuple(tensor.shape)}",
                    remedy="Check that the checkpoint and the graph are of the same model.",
                )
            if lead is None:
                lead = tensor.shape[:axes]
            elif tensor.shape[:axes] != lead:
                raise ShapeError(
                    f"parameters[{name}]",
                    expected=f"leading axes {tuple(lead)}",
                    found=f"{tuple(tensor.shape[:axes])}",
                    remedy="Stack the same number of lanes for every parameter.",
                )
            pieces.append(
                tensor.reshape(*lead, -1) if tensor.numel() else tensor.new_zeros(*lead, 0)
            )
        return torch.cat(pieces, dim=-1) if pieces else torch.zeros(0)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name, each [..., *shape], as views of theta [..., P].

        Raises:
            ShapeError: If the last axis of ``theta`` is not P.
        """
        require_last_axis("theta", theta, self.size)
        lead = theta.shape[:-1]
        pieces = torch.split(theta, list(self.sizes), dim=-1)
        return {
            name: piece.reshape((*lead, *shape))
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }

    def expand(self, per_tensor: Tensor) -> Tensor:
        """Return one number per parameter tensor, [..., n], repeated over its entries, [..., P].

        Raises:
            ShapeError: If the last axis of ``per_tensor`` is not the number of parameters.
        """
        require_last_axis("per_tensor", per_tensor, len(self.names))
        lead = per_tensor.shape[:-1]
        pieces = [
            per_tensor[..., i : i + 1].expand(*lead, size) for i, size in enumerate(self.sizes)
        ]
        return torch.cat(pieces, dim=-1) if pieces else per_tensor
