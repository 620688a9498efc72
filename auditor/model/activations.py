"""How many bytes a graph's results take for one example; onnx only, no torch.

An estimate of what a training step holds of it, too large where shapes are known: every result
that depends on the data counts, also views and those that no derivative needs. It is no bound:
a result whose shape cannot be inferred counts as its largest operand, which `Expand`, `MatMul` or
`Resize` exceed.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from auditor.model.limits import DEFAULT_LIMITS
from auditor.model.onnx_structure import check_structure, parse_model
from auditor.stagelog.log import Stage, StageLog

Shape = tuple[int, ...]


def example_activations(log: StageLog, read: Callable[[str], bytes | memoryview]) -> dict[str, int]:
    """Return for every graph of a log the bytes of its results for one example.

    Args:
        log: A log whose content was checked.
        read: From a digest to a blob.

    Raises:
        InputError: If a graph is no valid ONNX model.
    """
    found = dict.fromkeys(log.graphs, 0)
    for stage in log.stages:
        shapes = _example_shapes(log, stage)
        own = activation_bytes(read(log.graphs[stage.graph].onnx), shapes)
        found[stage.graph] = max(found[stage.graph], own)
    return found


def activation_bytes(blob: bytes | memoryview, examples: Mapping[str, Shape]) -> int:
    """Return the bytes of all results that depend on the data, for one example.

    A result whose shape cannot be inferred counts as much as its largest operand.

    Args:
        blob: An ONNX graph without weights.
        examples: Shape of each data input for one example, its first axis included.

    Raises:
        InputError: If it is no valid ONNX model.
    """
    model = parse_model(blob, largest=DEFAULT_LIMITS.graph_bytes, limits=DEFAULT_LIMITS)
    check_structure(model, limits=DEFAULT_LIMITS)
    del model.graph.value_info[:]
    for value in model.graph.input:
        if value.name in examples:
            _set_shape(value, examples[value.name])
    sizes = _inferred_bytes(model)
    held = {name: sizes.get(name, 0) for name in examples}
    total = 0
    for node in model.graph.node:
        known = [held[name] for name in node.input if name in held]
        if not known:
            continue  # of parameters and constants only: the same for every example
        for name in filter(None, node.output):
            held[name] = sizes.get(name, max(known))
            total += held[name]
    return total


def _example_shapes(log: StageLog, stage: Stage) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    columns = {
        name: column
        for dataset in stage.datasets
        for name, column in log.datasets[dataset].columns.items()
    }
    for value in log.graphs[stage.graph].inputs:
        column = columns.get(stage.bindings.inputs.get(value.name, ""))
        if column is not None:
            own = (1, *column.shape)
            shapes[value.name] = own if len(own) == len(value.shape) else _ones(value.shape)
        elif value.name in stage.bindings.inputs:
            shapes[value.name] = _ones(value.shape)
    return shapes


def _ones(shape: Sequence[int | str]) -> Shape:
    return (1, *(size if isinstance(size, int) else 1 for size in shape[1:]))


def _set_shape(value: ValueInfoProto, shape: Shape) -> None:
    axes = value.type.tensor_type.shape
    del axes.dim[:]
    for size in shape:
        axes.dim.add().dim_value = size


def _inferred_bytes(model: ModelProto) -> dict[str, int]:
    """Return the bytes of every value whose shape is known."""
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")  # it says how many examples there were
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes: dict[str, int] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        axes = tensor.shape.dim
        if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in axes):
            sizes[value.name] = prod(axis.dim_value for axis in axes) * _item_bytes(
                tensor.elem_type
            )
    return sizes


def _item_bytes(kind: int) -> int:
    return onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize if kind != TensorProto.STRING else 0
