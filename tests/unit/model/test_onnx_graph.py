"""Hostile graphs: every one gives a typed error before anything large or foreign happens."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from auditor.errors import AuditorError, InputError, ResourceError, UnsupportedError
from auditor.model.limits import ImportLimits
from auditor.model.onnx_graph import check_graph
from auditor.model.onnx_model import OnnxModel
from auditor.model.onnx_weights import onnx_weights

MIB = 2**20


def linear() -> ModelProto:
    """Return y = x w + c with a parameter w and a constant c."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
            helper.make_node("Add", ["h", "c"], ["y"], name="sum"),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.ones(2, dtype=np.float32), "c")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_valid_graph_is_described() -> None:
    description = check_graph(linear().SerializeToString())

    assert description.opset == 20
    assert [value.shape for value in description.inputs] == [("batch", 3), (3, 2)]
    assert [(n.operator, n.version) for n in description.nodes] == [("MatMul", 13), ("Add", 14)]
    assert description.constants["c"].tolist() == [1, 1]


def replaced(tensor: TensorProto) -> Callable[[ModelProto], None]:
    """Return an edit that makes ``tensor`` the constant c."""

    def edit(model: ModelProto) -> None:
        tensor.name = "c"
        model.graph.initializer[0].CopyFrom(tensor)

    return edit


def external(location: str) -> Callable[[ModelProto], None]:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return replaced(tensor)


def raw(dims: list[int], data: bytes, *, dtype: int = TensorProto.FLOAT) -> TensorProto:
    return TensorProto(data_type=dtype, dims=dims, raw_data=data)


def attribute(name: str, value: object) -> Callable[[ModelProto], None]:
    return lambda m: m.graph.node[0].attribute.append(helper.make_attribute(name, value))


def constant_of(attributes: list[AttributeProto]) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        model.graph.node.insert(0, onnx.NodeProto(op_type="Constant", output=["k"]))
        model.graph.node[0].attribute.extend(attributes)

    return edit


SUBGRAPH = helper.make_graph([], "inner", [], [])
OTHER = helper.make_function("custom", "F", ["a"], ["b"], [], [helper.make_opsetid("", 20)])

INVALID: dict[str, Callable[[ModelProto], object]] = {
    "no graph": lambda m: m.ClearField("graph"),
    "no outputs": lambda m: m.graph.ClearField("output"),
    "cycle": lambda m: m.graph.node[0].input.__setitem__(0, "y"),
    "unsorted": lambda m: m.graph.node.reverse(),
    "undefined operand": lambda m: m.graph.node[0].input.__setitem__(0, "nothing"),
    "output that nothing gives": lambda m: setattr(m.graph.output[0], "name", "z"),
    "duplicate result": lambda m: m.graph.node[1].output.__setitem__(0, "h"),
    "result named as input": lambda m: m.graph.node[0].output.__setitem__(0, "x"),
    "initialiser named as input": lambda m: setattr(m.graph.initializer[0], "name", "w"),
    "duplicate input": lambda m: m.graph.input.append(m.graph.input[0]),
    "no result": lambda m: m.graph.node[0].ClearField("output"),
    "empty name": lambda m: setattr(m.graph.input[0], "name", ""),
    "unprintable name": lambda m: setattr(m.graph.input[0], "name", "x\x00"),
    "long name": lambda m: setattr(m.graph.input[0], "name", "x" * 5000),
    "shapes that do not fit": lambda m: m.graph.input[1].CopyFrom(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2])
    ),
    "negative input axis": lambda m: m.graph.input[1].CopyFrom(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [-3, 2])
    ),
    "huge input axis": lambda m: m.graph.input[1].CopyFrom(
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [2**60, 2])
    ),
    "input without rank": lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
    "unknown attribute": attribute("nonsense", 1),
    "external data": external("weights.bin"),
    "external data above": external("../../etc/passwd"),
    "external data at root": external("/etc/passwd"),
    "external entries only": lambda m: m.graph.initializer[0].external_data.add(
        key="location", value="x"
    ),
    "negative axis": replaced(raw([-1, 4], bytes(32))),
    "huge axis": replaced(raw([2**40], bytes(8))),
    "overflowing axes": replaced(raw([2**32, 2**32, 4], bytes(8))),
    "too little data": replaced(raw([2], bytes(7))),
    "too much data": replaced(raw([2], bytes(9))),
    "no data": replaced(TensorProto(data_type=TensorProto.FLOAT, dims=[2])),
    "data in the wrong field": replaced(
        TensorProto(data_type=TensorProto.FLOAT, dims=[2], int64_data=[1, 2])
    ),
    "data twice": replaced(
        TensorProto(data_type=TensorProto.FLOAT, dims=[2], raw_data=bytes(8), float_data=[1, 2])
    ),
    "segment": replaced(
        TensorProto(
            data_type=TensorProto.FLOAT,
            dims=[2],
            raw_data=bytes(8),
            segment=TensorProto.Segment(begin=0, end=1),
        )
    ),
    "external data in an attribute": constant_of([
        helper.make_attribute(
            "value",
            TensorProto(
                data_type=TensorProto.FLOAT,
                dims=[2],
                data_location=TensorProto.EXTERNAL,
            ),
        )
    ]),
    "future file format": lambda m: setattr(m, "ir_version", 10_000),
}

UNSUPPORTED: dict[str, Callable[[ModelProto], object]] = {
    "function": lambda m: m.functions.append(OTHER),
    "training information": lambda m: m.training_info.add(),
    "sparse initialiser": lambda m: m.graph.sparse_initializer.add(),
    "quantisation": lambda m: m.graph.quantization_annotation.add(),
    "custom domain": lambda m: m.opset_import.append(helper.make_opsetid("custom", 1)),
    "two default domains": lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 19)),
    "no domain": lambda m: m.ClearField("opset_import"),
    "node of a custom domain": lambda m: setattr(m.graph.node[0], "domain", "custom"),
    "subgraph": attribute("body", SUBGRAPH),
    "referring attribute": lambda m: m.graph.node[0].attribute.append(
        AttributeProto(name="alpha", ref_attr_name="beta", type=AttributeProto.FLOAT)
    ),
    "text tensor": replaced(
        TensorProto(data_type=TensorProto.STRING, dims=[2], string_data=[b"a", b"b"])
    ),
    "unknown dtype": replaced(raw([2], bytes(8), dtype=99)),
    "complex dtype": replaced(raw([1], bytes(8), dtype=TensorProto.COMPLEX64)),
    "sequence input": lambda m: m.graph.input[0].CopyFrom(
        helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    ),
    "operator not treated": lambda m: setattr(m.graph.node[0], "op_type", "MatMulInteger"),
    "operator that does not exist": lambda m: setattr(m.graph.node[0], "op_type", "Frobnicate"),
    "operator version not treated": lambda m: setattr(m.opset_import[0], "version", 5),
    "no operator set": lambda m: m.opset_import[0].ClearField("version"),
    "operator set of the future": lambda m: setattr(m.opset_import[0], "version", 10_000),
}


@pytest.mark.parametrize("edit", INVALID.values(), ids=INVALID.keys())
def test_invalid_graph_is_refused(edit: Callable[[ModelProto], object]) -> None:
    model = linear()
    edit(model)

    with pytest.raises(InputError):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize("edit", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_unsupported_graph_is_refused(edit: Callable[[ModelProto], object]) -> None:
    model = linear()
    edit(model)

    with pytest.raises(UnsupportedError):
        check_graph(model.SerializeToString())


def test_operator_that_is_not_treated_is_named_with_version_and_node() -> None:
    model = linear()
    model.graph.node[1].op_type = "BitShift"

    with pytest.raises(UnsupportedError, match=r"node 'sum' \(BitShift\).*BitShift-11 of op.* 20"):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize(
    "limits",
    [
        ImportLimits(graph_bytes=100),
        ImportLimits(nodes=1),
        ImportLimits(initializers=0),
        ImportLimits(values=1),
        ImportLimits(rank=1),
        ImportLimits(constant_bytes=7),
    ],
    ids=["bytes", "nodes", "initialisers", "operands", "axes", "constants"],
)
def test_limit_is_kept(limits: ImportLimits) -> None:
    with pytest.raises(ResourceError):
        check_graph(linear().SerializeToString(), limits=limits)


@pytest.mark.parametrize("text", [b"MatMul", b"product", b"batch", b"h"])
def test_text_that_is_not_utf8_is_refused(text: bytes) -> None:
    data = linear().SerializeToString().replace(text, b"\xff" * len(text))

    with pytest.raises(InputError, match="names in UTF-8"):
        check_graph(data)


def test_nested_subgraphs_are_refused() -> None:
    graph = SUBGRAPH
    for depth in range(20):
        node = helper.make_node("If", ["c"], ["r"], then_branch=graph, else_branch=SUBGRAPH)
        graph = helper.make_graph([node], f"g{depth}", [], [])
    model = linear()
    model.graph.node.extend(graph.node)

    with pytest.raises(AuditorError):
        check_graph(model.SerializeToString())


@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_typed_error(data: bytes) -> None:
    with pytest.raises(AuditorError):
        check_graph(data)


BYTES = linear().SerializeToString()


@given(position=st.integers(0, len(BYTES) - 1), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_typed_error_or_a_graph(position: int, value: int) -> None:
    data = BYTES[:position] + bytes([value]) + BYTES[position + 1 :]

    try:
        description = check_graph(data)
    except AuditorError:
        return

    assert len(description.nodes) == 2


def chain(*nodes: onnx.NodeProto, rank: int = 2, **constants: object) -> bytes:
    """Return a graph from x [batch, 4] through nodes to y, of ``rank`` axes."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"n{i}" for i in range(rank)])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def node(operator: str, inputs: str, output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


SIDE = MIB
BOMBS = {
    "filled constant": chain(
        node("ConstantOfShape", "s", "k"), node("Mul", "x k"), s=[SIDE, SIDE, 1, 4], rank=4
    ),
    "expanded constant": chain(
        node("Expand", "o s", "k"),
        node("Mul", "x k"),
        o=np.float32([1]),
        s=[SIDE, SIDE, 1, 4],
        rank=4,
    ),
    "range": chain(
        node("Range", "a b d", "r"),
        node("Cast", "r", "k", to=1),
        node("ReduceSum", "k", "m", keepdims=0),
        node("Mul", "x m"),
        a=0,
        b=2**50,
        d=1,
    ),
    "outer sum": chain(
        node("ConstantOfShape", "s", "k"),
        node("ConstantOfShape", "t", "m"),
        node("Add", "k m", "n"),
        node("ReduceSum", "n", "r", keepdims=0),
        node("Mul", "x r"),
        s=[SIDE, 1],
        t=[1, SIDE],
    ),
    "tiled data": chain(node("Tile", "x r"), r=[2**30, 2**10]),
    "expanded data": chain(node("Expand", "x s"), s=[2**20, 2**20, 1, 4], rank=4),
    "one of many": chain(
        node("ConstantOfShape", "s", "i"),
        node("Cast", "i", "j", to=7),
        node("OneHot", "j d v", "k"),
        node("ReduceSum", "k", "r", keepdims=0),
        node("Mul", "x r"),
        s=[2**20, 1],
        d=2**22,
        v=np.float32([0, 1]),
    ),
    "pads of a window": chain(
        node("Reshape", "x s", "k"),
        node("AveragePool", "k", kernel_shape=[2], pads=[2**38, 0], strides=[2**38]),
        s=[2, 1, 4],
        rank=3,
    ),
    "padded data": chain(node("Pad", "x p"), p=[0, 2**40, 0, 0]),
}


@pytest.mark.parametrize("blob", BOMBS.values(), ids=BOMBS.keys())
def test_small_graph_of_huge_values_is_refused_before_they_are_made(blob: bytes) -> None:
    model = OnnxModel.load(blob, names={})

    with pytest.raises(ResourceError):
        model.specialise(((2, 4),), mode="eval")


NONSENSE = {
    "shape from data": (
        chain(
            node("Gather", "x i", "r"),
            node("Cast", "r", "s", to=7),
            node("Reshape", "x s"),
            i=0,
            rank=4,
        ),
        UnsupportedError,
    ),
    "index out of range": (chain(node("Gather", "x i"), i=[5]), InputError),
    "reshape to another size": (chain(node("Reshape", "x s"), s=[3, 3]), InputError),
    "slice without steps": (
        chain(node("Slice", "x a b c d"), a=[0], b=[1], c=[0], d=[0]),
        InputError,
    ),
    "blocks of nothing": (
        chain(node("Reshape", "x s", "k"), node("SpaceToDepth", "k", blocksize=0), s=[2, 1, 2, 2]),
        InputError,
    ),
    "sequence as a tensor": (
        chain(node("SplitToSequence", "x", "q"), node("Identity", "q")),
        InputError,
    ),
    "dropout in training": (
        chain(node("Dropout", "x r t"), r=np.float32(0.5), t=True),
        UnsupportedError,
    ),
    "running statistics of nobody": (
        chain(
            node("BatchNormalization", "x s s s s"),
            s=np.ones(4, dtype=np.float32),
        ),
        UnsupportedError,
    ),
}


@pytest.mark.parametrize(("blob", "error"), NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_gives_a_typed_error(blob: bytes, error: type[AuditorError]) -> None:
    with pytest.raises(error):
        OnnxModel.load(blob, names={}).specialise(((2, 4),), mode="train")


def with_weights() -> ModelProto:
    model = linear()
    model.graph.input.pop()
    model.graph.initializer.append(
        numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "w")
    )
    return model


def test_weights_of_a_complete_model_are_read_by_name() -> None:
    weights = onnx_weights(with_weights().SerializeToString())

    assert {name: array.tolist() for name, array in weights.items()} == {
        "c": [1, 1],
        "w": [[0, 1], [2, 3], [4, 5]],
    }


def test_weights_do_not_depend_on_known_operators() -> None:
    model = with_weights()
    model.graph.node[0].op_type = "Frobnicate"

    assert set(onnx_weights(model.SerializeToString())) == {"c", "w"}


@pytest.mark.parametrize(
    "name", ["external data", "negative axis", "too little data", "initialiser named as input"]
)
def test_hostile_weights_are_refused(name: str) -> None:
    model = linear()
    INVALID[name](model)

    with pytest.raises(InputError):
        onnx_weights(model.SerializeToString())


def test_weights_over_the_limit_are_refused() -> None:
    with pytest.raises(ResourceError):
        onnx_weights(with_weights().SerializeToString(), limits=ImportLimits(model_bytes=10))
