"""Operators that reduce, search or accumulate along axes."""

from collections.abc import Callable

import torch
from torch import Tensor

from auditor.model.onnx_ops.call import Build, Call, Kernel


def reduction(function: Callable[..., Tensor]) -> Build:
    """Return an operator that reduces over axes given as operand 1 or as an attribute.

    Without axes it reduces over all of them, or over none with ``noop_with_empty_axes``.
    """

    def build(call: Call) -> Kernel:
        axes = call.axes(1)
        keep = bool(call.integer("keepdims", 1))
        if axes is None and call.integer("noop_with_empty_axes", 0):
            return Kernel(lambda x: function(x.unsqueeze(-1), [x.dim()], keep=False), (0,))
        over = sorted(set(range(call.rank()) if axes is None else axes))
        if not over:
            return Kernel(lambda x: function(x.unsqueeze(-1), [x.dim()], keep=False), (0,))
        return Kernel(lambda x: function(x, over, keep=keep), (0,))

    return build


def total(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the sum, in the operand's dtype."""
    return x.sum(dim=axes, keepdim=keep, dtype=x.dtype)


def average(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the mean; of integers, divided towards zero."""
    if x.is_floating_point():
        return x.mean(dim=axes, keepdim=keep)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return torch.div(total(x, axes, keep=keep), count, rounding_mode="trunc")


def product(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the product."""
    for axis in reversed(axes):
        x = x.prod(dim=axis, keepdim=keep, dtype=x.dtype)
    return x


def largest(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the maximum."""
    if x.dtype == torch.bool:
        return torch.amax(x.to(torch.uint8), dim=axes, keepdim=keep).to(torch.bool)
    return torch.amax(x, dim=axes, keepdim=keep)


def smallest(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the minimum."""
    if x.dtype == torch.bool:
        return torch.amin(x.to(torch.uint8), dim=axes, keepdim=keep).to(torch.bool)
    return torch.amin(x, dim=axes, keepdim=keep)


def norm_1(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the sum of absolute values."""
    return total(x.abs(), axes, keep=keep)


def norm_2(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the square root of the sum of squares."""
    return total(x * x, axes, keep=keep).sqrt().to(x.dtype)


def sum_of_squares(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the sum of squares."""
    return total(x * x, axes, keep=keep)


def log_of_sum(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the logarithm of the sum."""
    return total(x, axes, keep=keep).log().to(x.dtype)


def log_sum_exp(x: Tensor, axes: list[int], *, keep: bool) -> Tensor:
    """Return the logarithm of the sum of exponentials."""
    return torch.logsumexp(x, dim=axes, keepdim=keep)


def arg_extreme(function: Callable[..., Tensor]) -> Build:
    """Return ArgMax or ArgMin along one axis; of equal entries the first, or the last."""

    def build(call: Call) -> Kernel:
        axis = call.axis(call.integer("axis", 0))
        keep = bool(call.integer("keepdims", 1))
        if not call.integer("select_last_index", 0):
            return Kernel(lambda x: function(x, dim=axis, keepdim=keep), (0,))
        last = call.shape()[axis] - 1
        return Kernel(lambda x: last - function(x.flip(axis), dim=axis, keepdim=keep), (0,))

    return build


def cumulative_sum(call: Call) -> Kernel:
    """Build CumSum, forwards or in reverse, with or without the entry itself."""
    return _cumulative(call, torch.cumsum, neutral=0)


def cumulative_product(call: Call) -> Kernel:
    """Build CumProd, forwards or in reverse, with or without the entry itself."""
    return _cumulative(call, torch.cumprod, neutral=1)


def _cumulative(call: Call, function: Callable[..., Tensor], *, neutral: int) -> Kernel:
    axis = call.axis(int(call.host_number(1)))
    exclusive, reverse = call.integer("exclusive", 0), call.integer("reverse", 0)
    length = call.shape()[axis]

    def run(x: Tensor) -> Tensor:
        x = x.flip(axis) if reverse else x
        if exclusive and length:
            first = torch.full_like(x.narrow(axis, 0, 1), neutral)
            x = torch.cat((first, x.narrow(axis, 0, length - 1)), dim=axis)
        results = function(x, dim=axis, dtype=x.dtype)
        return results.flip(axis) if reverse else results

    return Kernel(run, (0,))


def top_k(call: Call) -> Kernel:
    """Build TopK: values and positions of the largest or smallest entries."""
    axis = call.axis(call.integer("axis", -1))
    count = int(call.host_number(1))
    is_largest, is_sorted = bool(call.integer("largest", 1)), bool(call.integer("sorted", 1))

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        if not is_sorted:
            values, places = torch.topk(x, count, dim=axis, largest=is_largest, sorted=False)
            return values, places
        # A stable sort: of equal entries the first comes first, as the operator demands.
        values, places = torch.sort(x, dim=axis, descending=is_largest, stable=True)
        return values.narrow(axis, 0, count), places.narrow(axis, 0, count)

    return Kernel(run, (0,), results=2)
