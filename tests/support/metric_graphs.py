"""Metrics as ONNX graphs, made node by node as a user's exporter would."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def brier_graph(*, classes: int = 3, scalar: bool = False, constant: bool = False) -> bytes:
    """Return sum over classes of (softmax(output) - onehot(target))^2, [N], or its root mean, [].

    Args:
        classes: C.
        scalar: Whether the graph takes the root of the mean over examples.
        constant: Whether the result is made from the target instead of the output.
    """
    read = "hot" if constant else "p"
    nodes = [
        helper.make_node("Softmax", ["output"], ["p"], axis=-1),
        helper.make_node("OneHot", ["target", "depth", "ends"], ["hot"], axis=-1),
        helper.make_node("Sub", [read, "hot"], ["d"]),
        helper.make_node("Mul", ["d", "d"], ["s"]),
        helper.make_node("ReduceSum", ["s", "last"], ["rows"], keepdims=0),
    ]
    if scalar:
        nodes += [
            helper.make_node("ReduceMean", ["rows", "first"], ["m"], keepdims=0),
            helper.make_node("Sqrt", ["m"], ["value"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["rows"], ["value"]))
    constants = {
        "depth": np.array(classes, dtype=np.int64),
        "ends": np.array([0, 1], dtype=np.float64),
        "last": np.array([1], dtype=np.int64),
    }
    if scalar:
        constants["first"] = np.array([0], dtype=np.int64)
    graph = helper.make_graph(
        nodes,
        "metric",
        [
            helper.make_tensor_value_info("output", TensorProto.DOUBLE, ["N", classes]),
            helper.make_tensor_value_info("target", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, [] if scalar else ["N"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
