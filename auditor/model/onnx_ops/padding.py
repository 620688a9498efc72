"""Operators that lengthen axes."""

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import Call, Kernel

MOST_PARTS = 65_536
"""Longest axis that is split into a sequence, or padded by repeating its entries."""


def pad(call: Call) -> Kernel:
    """Build Pad with a constant, or by repeating edges, reflecting or wrapping.

    Negative pads cut.
    """
    rank = call.rank()
    mode = call.text("mode", "constant")
    axes = list(call.axes(3) or range(rank)) if call.has(3) else list(range(rank))
    pads = call.host(1)
    if len(pads) != 2 * len(axes):
        raise call.wrong(f"{2 * len(axes)} pads", pads)
    by_axis = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    if mode == "constant":
        value = call.host_number(2) if call.has(2) else 0
        order = [n for axis in reversed(range(rank)) for n in by_axis.get(axis, (0, 0))]
        return Kernel(lambda x: functional.pad(x, order, value=value), (0,))
    if mode not in {"edge", "reflect", "wrap"}:
        raise call.wrong("mode constant, edge, reflect or wrap", mode)
    sizes = call.shape()
    if any(abs(n) + size > MOST_PARTS for pair in by_axis.values() for n in pair for size in sizes):
        raise call.unsupported(f"axes of at most {MOST_PARTS} entries for mode {mode}", sizes)
    places = {
        axis: _padded_places(sizes[axis], before, after, mode=mode)
        for axis, (before, after) in by_axis.items()
        if (before, after) != (0, 0)
    }

    def run(x: Tensor) -> Tensor:
        for axis, indices in places.items():
            x = x.index_select(axis, torch.tensor(indices, device=x.device))
        return x

    return Kernel(run, (0,))


def _padded_places(length: int, before: int, after: int, *, mode: str) -> list[int]:
    """Return which entry stands at each place of the padded axis."""
    places = range(-before, length + after)
    if mode == "edge":
        return [min(max(i, 0), length - 1) for i in places]
    if mode == "wrap":
        return [i % length for i in places]
    period = max(2 * (length - 1), 1)
    return [min(i % period, period - i % period) if length > 1 else 0 for i in places]
