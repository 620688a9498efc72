"""Open an untrusted ONNX graph and check all of it; onnx and numpy only, no torch.

Order matters: sizes before parsing, structure before ``onnx.checker`` (whose shape inference is
native code), data locations before any array. The service runs this in a child process with
limits on memory and time.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from auditor.errors import InputError, ResourceError, UnsupportedError
from auditor.model.limits import DEFAULT_LIMITS, ImportLimits
from auditor.model.onnx_description import Attribute, GraphDescription, Node, TensorType
from auditor.model.onnx_ops.versions import VERSIONS
from auditor.model.onnx_tensors import dtype_name, shape_of, tensor_array, tensor_bytes

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
    nodes = tuple(_node(node, model, where=place) for place, node in _places(graph))
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
        inputs=tuple(_value(value, where="input", limits=limits) for value in graph.input),
        outputs=tuple(_value(value, where="output", limits=limits) for value in graph.output),
        nodes=nodes,
        constants={
            tensor.name: tensor_array(tensor, where=f"initialiser {tensor.name!r}")
            for tensor in graph.initializer
        },
    )


def parse_model(
    blob: bytes | bytearray | memoryview, *, largest: int, limits: ImportLimits
) -> ModelProto:
    """Return the protobuf message of an ONNX file of at most ``largest`` bytes.

    Raises:
        InputError: If the bytes are no ONNX model.
        ResourceError: If there are more of them, or of its parts, than allowed.
    """
    _require_at_most("ONNX file", len(blob), largest, what="bytes")
    try:
        model = ModelProto.FromString(bytes(blob))
    except DecodeError as error:
        raise InputError(
            "ONNX file", expected="a protobuf message", found=str(error), remedy=_REMEDY
        ) from error
    graph = model.graph
    if not model.HasField("graph") or not graph.output:
        raise InputError("ONNX file", expected="a graph with outputs", found="none", remedy=_REMEDY)
    _require_at_most("ONNX graph", len(graph.node), limits.nodes, what="nodes")
    _require_at_most("ONNX graph", len(graph.initializer), limits.initializers, what="initialisers")
    _require_at_most("ONNX graph", len(graph.input), limits.initializers, what="inputs")
    _require_at_most("ONNX graph", len(graph.output), limits.values, what="outputs")
    return model


def check_structure(model: ModelProto, *, limits: ImportLimits) -> None:
    """Refuse what no accepted model has, with or without weights.

    Raises:
        InputError: If names are missing, duplicate or unprintable, or types are not given.
        UnsupportedError: If the model has functions, subgraphs, training information, sparse or
            quantised tensors, or another domain than ONNX's own.
        ResourceError: If a limit is exceeded.
    """
    graph = model.graph
    for what, present in (
        ("functions", len(model.functions)),
        ("training information", len(model.training_info)),
        ("sparse initialisers", len(graph.sparse_initializer)),
        ("quantisation annotations", len(graph.quantization_annotation)),
    ):
        if present:
            raise _unsupported("ONNX model", f"no {what}", f"{present} of them")
    domains = [entry.domain for entry in model.opset_import]
    if domains not in ([""], ["ai.onnx"]):
        raise _unsupported("ONNX model", "the default operator set alone", ", ".join(domains))
    for place, node in _places(graph):
        _require_at_most(place, len(node.input), limits.values, what="operands")
        _require_at_most(place, len(node.output), limits.values, what="results")
        if not node.output:
            raise InputError(place, expected="a result", found="none", remedy=_REMEDY)
        if node.domain not in {"", "ai.onnx"}:
            raise _unsupported(place, "an operator of the default domain", node.domain)
        for attribute in node.attribute:
            _check_attribute(attribute, where=place, limits=limits)
    _check_names(graph, limits=limits)
    for value in (*graph.input, *graph.output):
        _value(value, where="value", limits=limits)


def _places(graph: GraphProto) -> Iterator[tuple[str, NodeProto]]:
    """Yield every node with how messages call it."""
    for index, node in enumerate(graph.node):
        yield f"node {node.name[:64] or index!r} ({node.op_type[:64]})", node


def _check_names(graph: GraphProto, *, limits: ImportLimits) -> None:
    seen: set[str] = set()
    for name in _defined(graph):
        if not name or len(name) > limits.name_characters or not name.isprintable():
            raise InputError(
                "ONNX graph",
                expected=f"printable names of 1 to {limits.name_characters} characters",
                found=name,
                remedy=_REMEDY,
            )
        if name in seen:
            raise InputError(
                f"value {name!r}",
                expected="one definition",
                found="two: inputs, initialisers and results share one name space",
                remedy=_REMEDY,
            )
        seen.add(name)


def _defined(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)


def _check_attribute(attribute: AttributeProto, *, where: str, limits: ImportLimits) -> None:
    accepted = {
        AttributeProto.INT, AttributeProto.INTS, AttributeProto.FLOAT, AttributeProto.FLOATS,
        AttributeProto.STRING, AttributeProto.TENSOR,
    }  # fmt: skip
    if attribute.ref_attr_name or attribute.type not in accepted:
        kinds = {number: name for name, number in AttributeProto.AttributeType.items()}
        raise _unsupported(
            f"{where}.{attribute.name[:64]}",
            "a number, numbers, a text or a tensor",
            "a reference" if attribute.ref_attr_name else kinds.get(attribute.type),
        )
    numbers = len(attribute.ints) + len(attribute.floats)
    _require_at_most(where, numbers, limits.nodes, what="numbers in an attribute")
    if attribute.type == AttributeProto.TENSOR:
        tensor_bytes(attribute.t, where=f"{where}.{attribute.name[:64]}", limits=limits)


def _check_constants(graph: GraphProto, *, limits: ImportLimits) -> None:
    total = sum(
        tensor_bytes(tensor, where=f"initialiser {tensor.name!r}", limits=limits)
        for tensor in graph.initializer
    )
    total += sum(
        tensor_bytes(attribute.t, where=place, limits=limits)
        for place, node in _places(graph)
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR
    )
    _require_at_most("ONNX graph", total, limits.constant_bytes, what="bytes of constants")


def _value(value: ValueInfoProto, *, where: str, limits: ImportLimits) -> TensorType:
    """Return name and type of an input, output or intermediate value."""
    place = f"{where} {value.name[:64]!r}"
    if value.type.WhichOneof("value") != "tensor_type":
        raise _unsupported(place, "a dense tensor", value.type.WhichOneof("value"))
    tensor = value.type.tensor_type
    dtype = dtype_name(tensor.elem_type, where=place)
    if not tensor.HasField("shape"):
        if where == "input":
            raise InputError(place, expected="a known rank", found="none", remedy=_REMEDY)
        return TensorType(name=value.name, dtype=dtype, shape=())
    axes = [axis.dim_value if axis.HasField("dim_value") else 0 for axis in tensor.shape.dim]
    shape_of(axes, where=place, limits=limits)
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?"
        for axis in tensor.shape.dim
    )
    return TensorType(name=value.name, dtype=dtype, shape=shape)


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


def _require_at_most(where: str, found: int, largest: int, *, what: str) -> None:
    if found > largest:
        raise ResourceError(
            where,
            expected=f"at most {largest} {what}",
            found=found,
            remedy="Split the model, or check that the file is what it should be.",
        )


def _unsupported(where: str, expected: str, found: object) -> UnsupportedError:
    return UnsupportedError(where, expected=expected, found=found, remedy=_REMEDY)
