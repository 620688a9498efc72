"""Traces that the exporter's optimiser leaves in a graph; no torch.

``torch.onnx.export`` optimises by default: it folds batch normalisation into the convolution
before it, stores transposed copies of weights under names of its own, keeps one of several
parameters whose values happen to be equal, and unties what is tied. Such a graph computes the
same numbers for one checkpoint and is no function of its parameters.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from auditor.model.onnx_description import GraphDescription
from auditor.stagelog.log import ParameterInfo

EXPORT_CALL = "torch.onnx.export(module, inputs, dynamo=True, optimize=False)"
"""How to export a graph that keeps its parameters."""

_MULTIPLIES = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_MOVES = {"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def why_missing(
    name: str, graph: GraphDescription, *, names: Mapping[str, ParameterInfo]
) -> str | None:
    """Return what the optimiser did to a parameter that the graph lacks, or None for no trace.

    Args:
        name: The parameter.
        graph: The graph whose outputs do not depend on it.
        names: Parameters and buffers of the model.
    """
    shape = names[name].shape
    layer = name.rpartition(".")[0]
    normalises = f"{layer}.running_var" in names
    if normalises and not any(n.operator == "BatchNormalization" for n in graph.nodes):
        return "batch normalisation folded into the layer before it"
    for constant, array in _float_constants(graph):
        if array.shape in (shape, shape[::-1]):
            turned = "" if array.shape == shape else ", transposed"
            return f"a constant {constant!r} in its place{turned}"
    for value in graph.inputs:
        if value.name in names and value.name != name and value.shape == shape:
            uses = sum(value.name in node.inputs for node in graph.nodes)
            if uses > 1:
                return f"{value.name!r} in its place, merged since their values are equal"
    return None


def copied_weight(
    graph: GraphDescription, *, names: Mapping[str, ParameterInfo]
) -> tuple[str, str] | None:
    """Return a parameter and the constant that looks like a copy of it, or None.

    Only constants count by which data are multiplied: tables of positions and masks are no weights.
    """
    shapes = {
        form: name
        for name, info in names.items()
        if info.kind == "parameter" and len(info.shape) > 1
        for form in (info.shape[::-1], info.shape)
    }
    constants = {c: c for c, array in _float_constants(graph) if array.shape in shapes}
    arrays = dict(_float_constants(graph))
    for node in graph.nodes:
        first = node.inputs[0] if node.inputs else ""
        if node.operator in _MOVES and first in constants:
            constants[node.outputs[0]] = constants[first]
        elif node.operator in _MULTIPLIES and first not in constants:
            weight = node.inputs[1] if len(node.inputs) > 1 else ""
            if weight in constants:
                constant = constants[weight]
                return shapes[arrays[constant].shape], constant
    return None


def _float_constants(graph: GraphDescription) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the floating constants of one or more axes, wherever they are written."""
    for name, array in graph.constants.items():
        if array.dtype.kind == "f" and array.ndim:
            yield name, array
    for node in graph.nodes:
        value = node.attributes.get("value")
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim:
            yield node.outputs[0], value
