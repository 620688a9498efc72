"""What an operator sees while a graph is specialised, and the kernel it answers with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from auditor.errors import AuditorError, InputError, UnsupportedError
from auditor.model.onnx_description import Mode, Node

Value: TypeAlias = Tensor | list[Tensor]
"""A tensor, or a sequence of tensors (SplitToSequence)."""

Plain = TypeVar("Plain", int, float, str, bytes)

DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8,
    "uint8": torch.uint8, "bool": torch.bool,
}  # fmt: skip
"""torch dtype of each accepted ONNX dtype."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An operator with everything but its tensors decided.

    Args:
        function: Pure torch; takes the operands in ``uses``, returns the result, or a tuple of
            them when there are several.
        uses: Positions of the operands that ``function`` takes. Without any, or with constant
            ones only, the result is a constant.
        results: How many results there are.
        updates: Operand position -> result position, for operands that are buffers and whose
            new value is a result (running statistics).
        keyed: Whether ``function`` also takes the keys of the examples' masks, None where nothing
            is dropped.
    """

    function: Callable[..., Value | tuple[Value, ...]]
    uses: tuple[int, ...]
    results: int = 1
    updates: tuple[tuple[int, int], ...] = ()
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Operand:
    """A constant with its numbers, or a value of which dtype and shape are known (meta device)."""

    value: Value
    constant: bool


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One node with what is known of its operands when shapes are fixed.

    Args:
        node: Operator, version and attributes.
        operands: None where an optional operand is left out.
        mode: The caller's, for batch normalisation.
    """

    node: Node
    operands: tuple[Operand | None, ...]
    mode: Mode

    @property
    def where(self) -> str:
        """How messages call the node."""
        return f"graph node {self.node.name} ({self.node.operator}-{self.node.version})"

    @property
    def version(self) -> int:
        """Since which operator set the operator means what it means here."""
        return self.node.version

    @property
    def present(self) -> tuple[int, ...]:
        """Positions of the operands that are given."""
        return tuple(i for i, operand in enumerate(self.operands) if operand is not None)

    def has(self, index: int) -> bool:
        """Return whether operand ``index`` is given."""
        return index < len(self.operands) and self.operands[index] is not None

    def operand(self, index: int) -> Operand:
        """Return operand ``index``, which must be given."""
        found = self.operands[index] if index < len(self.operands) else None
        if found is None:
            raise self.wrong(f"operand {index}", "none")
        return found

    def tensor(self, index: int) -> Tensor:
        """Return a tensor of operand ``index``'s dtype and shape (numbers only if constant)."""
        value = self.operand(index).value
        if not isinstance(value, Tensor):
            raise self.wrong(f"operand {index} to be a tensor", "a sequence")
        return value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of operand ``index``."""
        return tuple(self.tensor(index).shape)

    def rank(self, index: int = 0) -> int:
        """Return the number of axes of operand ``index``."""
        return self.tensor(index).dim()

    def host(self, index: int) -> list[int]:
        """Return the integers of operand ``index``, flattened.

        Raises:
            UnsupportedError: If they depend on data or parameters.
        """
        return [int(number) for number in self._constant(index).reshape(-1).tolist()]

    def host_number(self, index: int) -> float | int | bool:
        """Return the only number of operand ``index``.

        Raises:
            UnsupportedError: If it depends on data or parameters.
        """
        numbers = self._constant(index).reshape(-1)
        if numbers.numel() != 1:
            raise self.wrong(f"operand {index} to be one number", f"{numbers.numel()} of them")
        return numbers.item()

    def is_constant(self, index: int) -> bool:
        """Return whether operand ``index`` is given and constant."""
        return self.has(index) and self.operand(index).constant

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer attribute."""
        return self._plain(name, int, default)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a floating attribute."""
        return self._plain(name, float, default)

    def text(self, name: str, default: str) -> str:
        """Return a text attribute."""
        return self._plain(name, str, default)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Return a list of integers, or None if the attribute is not given."""
        value = self.node.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple):
            raise self.wrong(f"attribute {name} to be integers", type(value).__name__)
        return tuple(int(number) for number in value)

    def array(self, name: str) -> np.ndarray | None:
        """Return a tensor attribute, or None if it is not given."""
        value = self.node.attributes.get(name)
        return value if isinstance(value, np.ndarray) else None

    def axis(self, value: int, *, rank: int | None = None) -> int:
        """Return an axis counted from the front, having checked its range."""
        size = self.rank() if rank is None else rank
        if not -size <= value < max(size, 1):
            raise self.wrong(f"an axis from {-size} to {size - 1}", value)
        return value % size if size else 0

    def axes(self, index: int) -> tuple[int, ...] | None:
        """Return axes given as operand ``index`` or, in old versions, as an attribute.

        None means that none are given; an empty list counts as none.
        """
        given = self.host(index) if self.has(index) else self.integers("axes")
        if not given:
            return None
        return tuple(self.axis(axis) for axis in given)

    def wrong(self, expected: str, found: object) -> AuditorError:
        """Return the error for a node that contradicts its operator's definition."""
        return InputError(
            self.where,
            expected=expected,
            found=found,
            remedy="Export the model again with torch.onnx.export(dynamo=True, optimize=False).",
        )

    def unsupported(self, expected: str, found: object) -> AuditorError:
        """Return the error for what the operator allows and this release does not treat."""
        return UnsupportedError(
            self.where,
            expected=expected,
            found=found,
            remedy="Write this part of the model with other operations and export it again.",
        )

    def _constant(self, index: int) -> Tensor:
        tensor = self.tensor(index)
        if not self.operand(index).constant:
            raise self.unsupported(
                f"operand {index} to depend on shapes and constants only", "data or parameters"
            )
        return tensor

    def _plain(self, name: str, kind: type[Plain], default: Plain | None) -> Plain:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, kind):
            raise self.wrong(f"attribute {name} of type {kind.__name__}", type(value).__name__)
        return value


Build: TypeAlias = Callable[[Call], Kernel]
"""An operator: what it does once its node and the shapes of its operands are known."""
