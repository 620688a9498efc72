"""Curvature in eigenbasis form: what EK-FAC results in, and what can be done with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from auditor.model.layout import ParameterLayout


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class KroneckerBasis:
    """Eigenbasis of the curvature of one weight, and of its bias where they are joined.

    The weight is taken as a matrix [g, a] from inputs to outputs, a joined bias as its last
    column.

    Attributes:
        weight: Name of the weight.
        bias: Name of the joined bias, or None.
        shape: Of the weight as stored.
        transposed: Whether that is [a, g].
        outputs: Eigenvectors on the side of the outputs, as columns, [g, g].
        inputs: On the side of the inputs, [a, a], a with the bias; None stands for the identity
            (rows of a table, whose inputs are one-hot and so uncorrelated).
    """

    weight: str
    bias: str | None
    shape: tuple[int, ...]
    transposed: bool
    outputs: Tensor
    inputs: Tensor | None

    def matrix(self, named: dict[str, Tensor]) -> Tensor:
        """Return the block's entries as [..., g, a]."""
        weight = named[self.weight]
        lead = weight.shape[: weight.dim() - len(self.shape)]
        matrix = weight.reshape(*lead, self.shape[0], -1)
        if self.transposed:
            matrix = matrix.mT
        if self.bias is None:
            return matrix
        return torch.cat([matrix, named[self.bias].unsqueeze(-1)], dim=-1)

    def entries(self, matrix: Tensor) -> dict[str, Tensor]:
        """Return weight and bias from [..., g, a], the inverse of :meth:`matrix`."""
        weight = matrix if self.bias is None else matrix[..., :-1]
        if self.transposed:
            weight = weight.mT
        named = {self.weight: weight.reshape(*matrix.shape[:-2], *self.shape)}
        return named if self.bias is None else {**named, self.bias: matrix[..., -1]}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EigenCurvature:
    r"""H = Q diag(lambda) Q^T of a mean loss, undamped, positive semi-definite.

    Q is orthogonal and block diagonal: a Kronecker product for each weight with a site in the
    graph, the identity elsewhere, so that nothing [P, P] is ever formed. All methods are pure
    functions of tensors [..., P] in ``layout`` and safe inside ``vmap``, ``jvp``, ``vjp`` and
    traces. Cost of each: two products of a weight with its bases and back, about what the
    weight's layer costs on g + a examples.

    Attributes:
        layout: Where each parameter lies in theta.
        bases: One an EK-FAC block; parameters in none of them are diagonal.
        eigenvalues: lambda, [P], in the order of :meth:`to_eigenbasis`.
        diagonal: The exact diagonal of the matrix that is approximated, [P], in the order of
            theta; zero where the loss does not depend on a parameter.
    """

    layout: ParameterLayout
    bases: tuple[KroneckerBasis, ...]
    eigenvalues: Tensor
    diagonal: Tensor

    def to_eigenbasis(self, vector: Tensor) -> Tensor:
        """Return Q^T v, [..., P]."""
        return self._rotated(vector, lambda m, left, right: left.mT @ _right(m, right))

    def from_eigenbasis(self, coordinates: Tensor) -> Tensor:
        """Return Q c, [..., P]."""
        return self._rotated(
            coordinates,
            lambda m, left, right: left @ _right(m, None if right is None else right.mT),
        )

    def product(self, vector: Tensor) -> Tensor:
        """Return H v, [..., P]."""
        return self.from_eigenbasis(self.eigenvalues * self.to_eigenbasis(vector))

    def spectral(self, vector: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        r"""Return f(H) v, [..., P], such as :math:`\exp(-h (H + \mu I)) v`.

        Args:
            vector: v, [..., P].
            function: f of eigenvalues [P], entry by entry.
        """
        return self.from_eigenbasis(function(self.eigenvalues) * self.to_eigenbasis(vector))

    def _rotated(
        self, vector: Tensor, rotate: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    ) -> Tensor:
        named = self.layout.unflatten(vector)
        for basis in self.bases:
            matrix = rotate(basis.matrix(named), basis.outputs, basis.inputs)
            named |= basis.entries(matrix)
        return self.layout.flatten(named)


def _right(matrix: Tensor, basis: Tensor | None) -> Tensor:
    return matrix if basis is None else matrix @ basis
