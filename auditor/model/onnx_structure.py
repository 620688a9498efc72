"""The structure of an untrusted ONNX file, checked before native code or numpy sees it; no torch.

Sizes come before parsing; then what no accepted model has, with or without weights.
"""

import itertools
from collections.abc import Iterator
from typing import cast

from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, defs

from auditor.errors import InputError, ResourceError, UnsupportedError
from auditor.model.limits import ImportLimits
from auditor.model.onnx_description import TensorType
from auditor.model.onnx_tensors import dtype_name, shape_of, tensor_bytes

_REMEDY = "Export the model again with torch.onnx.export(dynamo=True, optimize=False)."


def parse_model(
    blob: bytes | bytearray | memoryview, *, largest: int, limits: ImportLimits
) -> ModelProto:
    """Return the protobuf message of an ONNX file of at most ``largest`` bytes.

    Raises:
        InputError: If the bytes are no ONNX model.
        ResourceError: If there are more of them, or of its parts, than allowed.
    """
    require_at_most("ONNX file", len(blob), largest, what="bytes")
    try:
        # The stubs want bytes, the parser any buffer: a mapped file is not copied.
        model = ModelProto.FromString(cast("bytes", blob))
    except DecodeError as error:
        raise InputError(
            "ONNX file", expected="a protobuf message", found=str(error), remedy=_REMEDY
        ) from error
    graph = model.graph
    if not model.HasField("graph") or not graph.output:
        raise InputError("ONNX file", expected="a graph with outputs", found="none", remedy=_REMEDY)
    require_at_most("ONNX graph", len(graph.node), limits.nodes, what="nodes")
    require_at_most("ONNX graph", len(graph.initializer), limits.initializers, what="initialisers")
    require_at_most("ONNX graph", len(graph.input), limits.initializers, what="inputs")
    require_at_most("ONNX graph", len(graph.output), limits.values, what="outputs")
    return model


def check_structure(model: ModelProto, *, limits: ImportLimits) -> None:
    """Refuse what no accepted model has, with or without weights.

    Raises:
        InputError: If names are missing, duplicate or unprintable, types are not given, or a
            tensor's data are not all inside the file.
        UnsupportedError: If the model has functions, subgraphs, training information, sparse or
            quantised tensors, or another domain than ONNX's own.
        ResourceError: If a limit is exceeded.
    """
    graph = model.graph
    _check_texts(model)
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
    newest = defs.onnx_opset_version()
    if not 1 <= model.opset_import[0].version <= newest:
        found = model.opset_import[0].version
        raise _unsupported("ONNX model", f"an operator set from 1 to {newest}", found)
    for place, node in places(graph):
        require_at_most(place, len(node.input), limits.values, what="operands")
        require_at_most(place, len(node.output), limits.values, what="results")
        if not node.output:
            raise InputError(place, expected="a result", found="none", remedy=_REMEDY)
        if node.domain not in {"", "ai.onnx"}:
            raise _unsupported(place, "an operator of the default domain", node.domain)
        for attribute in node.attribute:
            _check_attribute(attribute, where=place, limits=limits)
    _check_names(graph, limits=limits)
    for tensor in graph.initializer:
        tensor_bytes(tensor, where=f"initialiser {tensor.name!r}", limits=limits)
    for value in (*graph.input, *graph.output):
        value_type(value, where="value", limits=limits)


def places(graph: GraphProto) -> Iterator[tuple[str, NodeProto]]:
    """Yield every node with how messages call it."""
    for index, node in enumerate(graph.node):
        yield f"node {node.name[:64] or index!r} ({node.op_type[:64]})", node


def _check_texts(model: ModelProto) -> None:
    """Refuse text that is not UTF-8, which protobuf hands out as bytes."""
    graph = model.graph
    values = (*graph.input, *graph.output)
    texts: Iterator[str | bytes] = itertools.chain(
        (entry.domain for entry in model.opset_import),
        (value.name for value in values),
        (tensor.name for tensor in graph.initializer),
        (axis.dim_param for value in values for axis in value.type.tensor_type.shape.dim),
        (text for node in graph.node for text in (node.name, node.op_type, node.domain)),
        (text for node in graph.node for text in (*node.input, *node.output)),
        (text for node in graph.node for a in node.attribute for text in (a.name, a.ref_attr_name)),
    )
    for text in texts:
        if isinstance(text, bytes):
            raise InputError(
                "ONNX file", expected="names in UTF-8", found="other bytes", remedy=_REMEDY
            )


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
    require_at_most(where, numbers, limits.nodes, what="numbers in an attribute")
    if attribute.type == AttributeProto.TENSOR:
        tensor_bytes(attribute.t, where=f"{where}.{attribute.name[:64]}", limits=limits)


def value_type(value: ValueInfoProto, *, where: str, limits: ImportLimits) -> TensorType:
    """Return name and type of an input or output.

    Raises:
        InputError: If an input has no known rank, or an axis is out of range.
        UnsupportedError: If it is no dense tensor of an accepted dtype.
        ResourceError: If it has too many axes.
    """
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


def require_at_most(where: str, found: int, largest: int, *, what: str) -> None:
    """Refuse more than ``largest`` of something.

    Raises:
        ResourceError: If there are more.
    """
    if found > largest:
        raise ResourceError(
            where,
            expected=f"at most {largest} {what}",
            found=found,
            remedy="Split the model, or check that the file is what it should be.",
        )


def _unsupported(where: str, expected: str, found: object) -> UnsupportedError:
    return UnsupportedError(where, expected=expected, found=found, remedy=_REMEDY)
