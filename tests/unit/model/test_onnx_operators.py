"""Operators that the node tests leave out, or whose derivatives matter: sequences, attention."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.func import grad, jvp, vmap

from auditor.model.onnx_model import OnnxModel

F64 = torch.float64
X = torch.arange(12, dtype=F64).reshape(2, 6) / 7 + 0.5


def node(operator: str, inputs: str, output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), output.split(), **attributes)


def model(*nodes: onnx.NodeProto, opset: int = 20, rank: int = 2, **constants: object) -> OnnxModel:
    """Return a graph of one input x [batch, 6] and one output y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [f"n{i}" for i in range(rank)])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    blob = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return OnnxModel.load(blob, names={})


def run(imported: OnnxModel, x: Tensor = X) -> Tensor:
    return imported.specialise((tuple(x.shape),), mode="eval")({}, {}, x).values[0]


def test_sequence_is_split_picked_measured_and_joined() -> None:
    imported = model(
        node("SplitToSequence", "x lengths", "parts", axis=1),
        node("SequenceLength", "parts", "count"),
        node("Cast", "count", "number", to=TensorProto.DOUBLE),
        node("SequenceAt", "parts last", "tail"),
        node("SequenceAt", "parts first", "head"),
        node("SequenceConstruct", "tail head", "swapped"),
        node("ConcatFromSequence", "swapped", "joined", axis=-1),
        node("Mul", "joined number"),
        lengths=[4, 2],
        first=0,
        last=-1,
    )

    torch.testing.assert_close(run(imported), 2 * torch.cat((X[:, 4:], X[:, :4]), dim=1))


def test_sequence_joins_along_a_new_axis() -> None:
    imported = model(
        node("SequenceConstruct", "x x", "pair"),
        node("ConcatFromSequence", "pair", axis=1, new_axis=1),
        rank=3,
    )

    torch.testing.assert_close(run(imported), torch.stack((X, X), dim=1))


GROUPS = (
    node("Reshape", "x shape", "image"),
    node("GroupNormalization", "image scale bias", num_groups=2),
)


def test_group_normalization_has_a_scale_per_channel() -> None:
    scale, bias = np.arange(6.0), np.ones(6)
    imported = model(*GROUPS, opset=21, rank=3, shape=[2, 6, 1], scale=scale, bias=bias)

    wanted = torch.nn.functional.group_norm(
        X.unsqueeze(-1), 2, torch.from_numpy(scale), torch.from_numpy(bias)
    )
    torch.testing.assert_close(run(imported), wanted)


ATTENTION = model(
    node("Reshape", "x shape", "q"),
    node("Attention", "q q q", is_causal=1, q_num_heads=1, kv_num_heads=1),
    opset=23,
    rank=3,
    shape=[0, 3, 2],
)
WRITTEN = model(
    node("ScatterND", "x places updates", reduction="add"),
    places=np.array([[0, 1], [1, 5], [0, 1]]),
    updates=np.array([1.0, 2.0, 3.0]),
)
SCATTERED = model(
    node("ScatterElements", "x places updates", axis=1),
    places=np.array([[0, -1], [2, 3]]),
    updates=np.array([[1.0, 2.0], [3.0, 4.0]]),
)
LOSS = model(
    node("SoftmaxCrossEntropyLoss", "x target weight", ignore_index=-1),
    rank=0,
    target=[4, 1],
    weight=np.arange(6.0) + 1,
)


def causal(x: Tensor) -> Tensor:
    q = x.reshape(-1, 1, 3, 2)
    y = torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    return y.reshape(-1, 3, 2)


def test_attention_equals_torch() -> None:
    torch.testing.assert_close(run(ATTENTION), causal(X))


def test_scattered_values_are_added_and_replaced() -> None:
    added, replaced = X.clone(), X.clone()
    added[0, 1] += 4
    added[1, 5] += 2
    replaced[0, 0], replaced[0, 5], replaced[1, 2], replaced[1, 3] = 1, 2, 3, 4

    torch.testing.assert_close(run(WRITTEN), added)
    torch.testing.assert_close(run(SCATTERED), replaced)


def test_loss_equals_torch() -> None:
    weight = torch.arange(6, dtype=F64) + 1

    wanted = torch.nn.functional.cross_entropy(X, torch.tensor([4, 1]), weight)
    torch.testing.assert_close(run(LOSS), wanted)


@pytest.mark.parametrize(
    "imported",
    [ATTENTION, WRITTEN, SCATTERED, LOSS],
    ids=["attention", "add", "replace", "loss"],
)
def test_operator_has_first_and_second_derivatives(imported: OnnxModel) -> None:
    direction = torch.linspace(-1, 1, 12, dtype=F64).reshape(2, 6)

    def value(x: Tensor) -> Tensor:
        return run(imported, x).square().sum()

    step = 1e-5
    slope = (value(X + step * direction) - value(X - step * direction)) / (2 * step)
    bend = (grad(value)(X + step * direction) - grad(value)(X - step * direction)) / (2 * step)

    torch.testing.assert_close(jvp(value, (X,), (direction,))[1], slope, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close((grad(value)(X) * direction).sum(), slope, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(jvp(grad(value), (X,), (direction,))[1], bend, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("imported", [ATTENTION, WRITTEN, SCATTERED, LOSS])
def test_operator_has_lanes(imported: OnnxModel) -> None:
    lanes = torch.stack((X, X.flip(1)))

    values = vmap(lambda x: run(imported, x))(lanes)

    torch.testing.assert_close(values, torch.stack([run(imported, lane) for lane in lanes]))
