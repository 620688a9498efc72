"""Batch norm with stored statistics: torch's values, and derivatives by the statistics too."""

import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.func import grad, jvp

from auditor.model.onnx_model import OnnxModel

F64 = torch.float64
EPSILON = 1e-3
NAMES = ("scale", "bias", "mean", "variance")


def batch_norm(x: Tensor, *given: Tensor) -> Tensor:
    """Run an imported BatchNormalization in evaluation mode, all of its operands being inputs."""
    tensors = dict(zip(("x", *NAMES), (x, *given), strict=True))
    graph = helper.make_graph(
        [helper.make_node("BatchNormalization", list(tensors), ["y"], epsilon=EPSILON)],
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, list(value.shape))
            for name, value in tensors.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, list(x.shape))],
    )
    opsets = [helper.make_opsetid("", 20)]
    blob = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    shapes = tuple(tuple(value.shape) for value in tensors.values())
    plan = OnnxModel.load(blob, names={}).specialise(shapes, mode="eval")
    return plan({}, {}, *tensors.values()).values[0]


@pytest.fixture
def operands() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    scale, bias, mean, spread = torch.randn(4, 5, dtype=F64, generator=generator)
    return scale, bias, mean, spread.square() + 0.1


@pytest.mark.parametrize("shape", [(4, 5), (3, 5, 2), (2, 5, 3, 2)])
def test_values_are_those_of_torch(shape: tuple[int, ...], operands: tuple[Tensor, ...]) -> None:
    x = torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(4))
    scale, bias, mean, variance = operands

    expected = torch.nn.functional.batch_norm(x, mean, variance, scale, bias, eps=EPSILON)

    torch.testing.assert_close(batch_norm(x, *operands), expected)


def test_statistics_have_derivatives_forward_and_backward(operands: tuple[Tensor, ...]) -> None:
    x = torch.randn(2, 5, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(5))
    scale, bias, mean, variance = operands
    along = torch.linspace(-1, 1, 5, dtype=F64)

    def total(mean: Tensor, variance: Tensor) -> Tensor:
        return batch_norm(x, scale, bias, mean, variance).square().sum()

    forward: Tensor = jvp(total, (mean, variance), (along, along))[1]
    backward = grad(total, argnums=(0, 1))(mean, variance)
    step = 1e-6
    moved = [total(mean + s * along, variance + s * along) for s in (step, -step)]

    torch.testing.assert_close(forward, sum(part @ along for part in backward))
    torch.testing.assert_close(forward, (moved[0] - moved[1]) / (2 * step), rtol=1e-6, atol=1e-6)
