import pytest
import torch
from torch import Tensor

from auditor.errors import InternalError
from auditor.model.objective import Minibatch
from auditor.model.traced import Traced, trace

GENERATOR = torch.Generator().manual_seed(0)
MATRIX = torch.randn(3, 4, generator=GENERATOR)


def minibatch(examples: int) -> Minibatch:
    return Minibatch(
        inputs=(torch.randn(examples, 4, generator=GENERATOR),),
        target=torch.randn(examples, 3, generator=GENERATOR),
        weights=torch.ones(examples),
        denominator=torch.tensor(float(examples)),
    )


def loss(weight: Tensor, batch: Minibatch) -> Tensor:
    errors = (torch.tanh(batch.inputs[0] @ weight.T) - batch.target).square().sum(dim=-1)
    return (batch.weights * errors).sum() / batch.denominator


def test_trace_of_a_gradient_gives_the_same_bits() -> None:
    gradient = torch.func.grad_and_value(loss)
    batch = minibatch(5)

    traced = trace(gradient, (MATRIX, minibatch(5)))

    torch.testing.assert_close(traced(MATRIX, batch), gradient(MATRIX, batch), rtol=0, atol=0)


def test_trace_of_a_hessian_product_over_lanes_gives_the_same_numbers() -> None:
    def product(weight: Tensor, direction: Tensor, batch: Minibatch) -> Tensor:
        gradient = torch.func.grad(lambda w: loss(w, batch))
        return torch.func.jvp(gradient, (weight,), (direction,))[1]

    lanes = torch.func.vmap(product, in_dims=(0, 0, None))
    weights, batch = torch.stack([MATRIX, 2 * MATRIX]), minibatch(5)

    traced = trace(lanes, (weights, weights, minibatch(5)))

    torch.testing.assert_close(traced(weights, weights, batch), lanes(weights, weights, batch))


def test_result_of_a_trace_can_be_differentiated_later() -> None:
    traced = trace(lambda w: w * 2, (MATRIX,))

    gradient = torch.func.grad(lambda x: x.square().sum())(traced(MATRIX))

    torch.testing.assert_close(gradient, 4 * MATRIX)


def test_trace_refuses_arguments_of_another_structure() -> None:
    traced = trace(lambda named: named["a"] + 1, ({"a": MATRIX},))

    with pytest.raises(InternalError):
        traced({"b": MATRIX})


def test_traced_function_is_traced_once_per_shape() -> None:
    runs = []

    def function(batch: Minibatch) -> Tensor:
        runs.append(batch.weights.shape)
        return batch.weights * 2

    traced = Traced(function)
    for examples in (3, 5, 3, 5):
        assert torch.equal(traced(minibatch(examples)), torch.full((examples,), 2.0))

    assert runs == [(3,), (5,)]


def test_traced_function_drops_the_trace_used_longest_ago() -> None:
    runs = []

    def function(x: Tensor) -> Tensor:
        runs.append(len(x))
        return x + 1

    traced = Traced(function, capacity=2)
    for length in (1, 2, 1, 3, 1, 2):
        traced(torch.zeros(length))

    assert runs == [1, 2, 3, 2]


def test_traced_function_tells_dtypes_apart() -> None:
    traced = Traced(lambda x: x * 2)

    assert traced(torch.ones(2)).dtype == torch.float32
    assert traced(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
