"""Open an untrusted ONNX graph and check all of it; onnx and numpy only, no torch.

Order matters: sizes before parsing, structure before ``onnx.checker`` (whose shape inference is
native code), data locations before any array. The service runs this in a child process with
limits on memory and time.
"""

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from auditor.errors import InputError, UnsupportedError
from auditor.model.limits import DEFAULT_LIMITS, ImportLimits
from auditor.model.onnx_description import Attribute, GraphDescription, Node
from auditor.model.onnx_ops.versions import VERSIONS
from auditor.model.onnx_structure import (
    check_structure,
    parse_model,
    places,
    require_at_most,
    value_type,
)
from auditor.model.onnx_tensors import tensor_array, tensor_bytes

_REMEDY = "Export the model again with torch.onnx.export(dynamo=True, optimize=False)."


def check_graph(
    blob: bytes | bytearray | memoryview, *, limits: ImportLimits = DEFAULT_LIMITS
) -> GraphDescription:
    """Return the graph of an ONNX file without weights as plain values.

    Args:
        blob: The whole file.
        limits: Bounds on size, nodes, names, axes and constants.

    Raises:
        InputError: If the file is no valid ONNX model, or refers to anything outside itself.
        UnsupportedError: If it uses what this release does not treat: functions, subgraphs,
            custom domains, sparse tensors, a dtype, an operator, or a version of one.
        ResourceError: If a limit is exceeded.
    """
    model = parse_model(blob, largest=limits.graph_bytes, limits=limits)
    check_structure(model, limits=limits)
    graph = model.graph
    del graph.value_info[:]  # hints for shape inference: not needed, and not to be trusted
    _check_constants(graph, limits=limits)
    nodes = tuple(_node(node, model, where=place) for place, node in places(graph))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
        TypeError,
    ) as error:
        raise InputError(
            "ONNX graph", expected="a valid model", found=str(error), remedy=_REMEDY
        ) from error
    return GraphDescription(
        opset=model.opset_import[0].version,
        inputs=tuple(value_type(value, where="input", limits=limits) for value in graph.input),
        outputs=tuple(value_type(value, where="output", limits=limits) for value in graph.output),
        nodes=nodes,
        constants={
            tensor.name: tensor_array(tensor, where=f"initialiser {tensor.name!r}")
            for tensor in graph.initializer
        },
    )


def _check_constants(graph: GraphProto, *, limits: ImportLimits) -> None:
    total = sum(
        tensor_bytes(tensor, where=f"initialiser {tensor.name!r}", limits=limits)
        for tensor in graph.initializer
    )
    total += sum(
        tensor_bytes(attribute.t, where=place, limits=limits)
        for place, node in places(graph)
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR
    )
    require_at_most("ONNX graph", total, limits.constant_bytes, what="bytes of constants")


def _node(node: NodeProto, model: ModelProto, *, where: str) -> Node:
    version = _version(node.op_type, model.opset_import[0].version, where=where)
    return Node(
        name=node.name or node.output[0],
        operator=node.op_type,
        version=version,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={a.name: _attribute(a, where=where) for a in node.attribute},
    )


def _version(operator: str, opset: int, *, where: str) -> int:
    """Return since when the operator means what it means in ``opset``."""
    try:
        version = onnx.defs.get_schema(operator, opset, "").since_version
    except onnx.defs.SchemaError:
        version = 0
    if version not in VERSIONS.get(operator, ()):
        treated = ", ".join(str(number) for number in VERSIONS.get(operator, ()))
        raise UnsupportedError(
            where,
            expected=f"a version of {treated}" if treated else "an operator that is treated",
            found=f"{operator}-{version} of operator set {opset}",
            remedy="Export with operator set 20, or write the model without this operator.",
        )
    return version


def _attribute(attribute: AttributeProto, *, where: str) -> Attribute:
    match attribute.type:
        case AttributeProto.INT:
            return attribute.i
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.FLOAT:
            return _decimal(attribute.f)
        case AttributeProto.FLOATS:
            return tuple(_decimal(number) for number in attribute.floats)
        case AttributeProto.STRING:
            return attribute.s.decode("utf-8", errors="replace")
        case _:
            return tensor_array(attribute.t, where=f"{where}.{attribute.name}")


def _decimal(number: float) -> float:
    """Return the number that was meant by a float32 attribute: its shortest decimal.

    An epsilon of 1e-5 or a momentum of 0.9 is stored rounded to float32; a model in float64 was
    trained with the decimal.
    """
    return float(str(np.float32(number)))
