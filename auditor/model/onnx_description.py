"""A checked ONNX graph as plain values: no protobuf, no torch, and small enough for a pipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Attribute: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | np.ndarray
"""Value of a node's attribute; a tensor is an array."""

Mode: TypeAlias = Literal["train", "eval"]
"""Whether batch normalisation uses the statistics of the batch (train) or the running ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorType:
    """Name, dtype and shape of a graph's input or output; a text axis is symbolic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operator; an operand or result that is left out is the empty text.

    Args:
        name: Unique within the graph, for messages.
        operator: Name of the operator in the default domain.
        version: Operator set version in which this meaning of the operator began.
        inputs: Names of the operands.
        outputs: Names of the results.
        attributes: Those that are given; defaults are the operator's business.
    """

    name: str
    operator: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphDescription:
    """A graph whose nodes are in order of execution.

    Args:
        opset: Version of the default operator set.
        inputs: Data inputs first, then parameters and buffers, in the graph's order.
        outputs: In the graph's order.
        nodes: Every node after those it depends on.
        constants: Initialisers by name, which are no parameters.
    """

    opset: int
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
