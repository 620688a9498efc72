"""Tests of memory that a traced function uses again: same values, fewer bytes alive at once."""

import torch
from torch import Tensor

from auditor.model.traced import trace
from benchmarks.live_bytes import LiveBytes

VECTOR = torch.linspace(0.1, 2.0, 1000)
SIZE = VECTOR.nbytes


def peak_of(function: object, *arguments: Tensor) -> int:
    with LiveBytes(arguments) as live:
        function(*arguments)  # type: ignore[operator]
    return live.peak


def test_arithmetic_writes_where_an_operand_lies_that_nobody_reads_again() -> None:
    def function(x: Tensor) -> Tensor:
        return ((x * 2 + x) / (x + 1)).sqrt()

    traced = trace(function, (VECTOR,))

    assert torch.equal(traced(VECTOR), function(VECTOR))
    assert peak_of(traced, VECTOR) == 3 * SIZE  # x, numerator, denominator


def test_operand_that_is_read_again_keeps_its_value() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        twice = x * 2
        more = twice + 1
        return more, twice - 3

    more, less = trace(function, (VECTOR,))(VECTOR)

    assert torch.equal(more, VECTOR * 2 + 1)
    assert torch.equal(less, VECTOR * 2 - 3)


def test_operand_whose_view_is_read_again_keeps_its_value() -> None:
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        square = (x * 2).reshape(10, 100)
        return square + 1, square.t().mul(3)

    more, turned = trace(function, (VECTOR,))(VECTOR)

    assert torch.equal(more, (VECTOR * 2).reshape(10, 100) + 1)
    assert torch.equal(turned, (VECTOR * 2).reshape(10, 100).t() * 3)


def test_operand_that_is_also_read_turned_round_keeps_its_value() -> None:
    matrix = torch.arange(9.0).reshape(3, 3)

    def function(x: Tensor) -> Tensor:
        twice = x * 2
        return twice + twice.t()

    assert torch.equal(trace(function, (matrix,))(matrix), matrix * 2 + (matrix * 2).t())


def test_arguments_are_never_written_to() -> None:
    x = VECTOR.clone()

    trace(lambda x: (x + 1) * x, (x,))(x)

    assert torch.equal(x, VECTOR)


def test_consumed_arguments_make_room_for_the_result() -> None:
    def step(x: Tensor) -> Tensor:
        return ((x * 2) * 3).exp()

    traced = trace(step, (VECTOR,))
    held = [VECTOR.clone()]
    with LiveBytes(held) as live:
        result = traced.consume(held)

    assert held == []
    assert torch.equal(result, step(VECTOR))
    assert live.peak == 2 * SIZE
    assert live.now == SIZE


def test_tracing_allocates_nothing_of_the_size_of_a_tensor() -> None:
    with LiveBytes() as live:
        trace(lambda x: torch.outer(x, x).sum(), (VECTOR,))

    assert live.peak < SIZE
