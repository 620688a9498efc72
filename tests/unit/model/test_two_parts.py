"""A function traced once and run in two parts."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from auditor.errors import InternalError
from auditor.model.traced import trace
from auditor.model.two_parts import trace_in_two_parts

GENERATOR = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)
VECTOR = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)
OTHER = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)


def loss(weight: Tensor) -> Tensor:
    return torch.tanh(weight @ weight).square().sum()


def step(weight: Tensor, vector: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
    """Return a gradient step, and a vector pulled back through it."""
    after, pullback = torch.func.vjp(lambda w: w - 0.1 * torch.func.grad(loss)(w), weight)
    return (after,), pullback(vector)


def test_both_parts_give_what_the_whole_gives() -> None:
    early, late = trace_in_two_parts(step, early=(VECTOR,), late=(OTHER,))

    (after,), held = early((WEIGHT,))
    (pulled,) = late(held, (VECTOR,))

    (expected,), (expected_pulled,) = step(WEIGHT, VECTOR)
    torch.testing.assert_close(after, expected)
    torch.testing.assert_close(pulled, expected_pulled)


def test_one_way_forth_serves_many_ways_back() -> None:
    early, late = trace_in_two_parts(step, early=(VECTOR,), late=(OTHER,))
    _, held = early((WEIGHT,))

    one, other, again = (late(held, (vector,))[0] for vector in (VECTOR, OTHER, VECTOR))

    torch.testing.assert_close(one, again, rtol=0, atol=0)
    torch.testing.assert_close(other, step(WEIGHT, OTHER)[1][0])


def test_what_is_written_in_place_belongs_to_who_writes() -> None:
    def written(first: Tensor, second: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
        place = torch.zeros_like(first)
        place.add_(second)
        return (first + 1,), (place * first,)

    early, late = trace_in_two_parts(written, early=(WEIGHT,), late=(OTHER,))
    _, held = early((WEIGHT,))

    for vector in (VECTOR, OTHER):
        torch.testing.assert_close(late(held, (vector,))[0], vector * WEIGHT)


def test_an_early_result_of_late_arguments_is_refused() -> None:
    with pytest.raises(InternalError, match="late argument"):
        trace_in_two_parts(lambda a, b: ((a + b,), (a,)), early=(WEIGHT,), late=(OTHER,))


def test_equal_calls_are_computed_once_and_writes_are_kept_apart() -> None:
    def twice(x: Tensor) -> Tensor:
        one, other = x * 2, x * 2
        place, second = torch.zeros_like(x), torch.zeros_like(x)
        place.add_(x)
        return one + other + place + 10 * second

    torch.testing.assert_close(trace(twice, (WEIGHT,))(VECTOR), twice(VECTOR))


def test_a_difference_with_itself_costs_nothing_and_is_zero() -> None:
    def held(x: Tensor) -> Tensor:
        product = x @ x
        return x + (product - product.detach())

    traced = trace(held, (WEIGHT,))

    with FlopCounterMode(display=False) as counter:
        found = traced(VECTOR)
    torch.testing.assert_close(found, VECTOR, rtol=0, atol=0)
    assert counter.get_total_flops() == 0
