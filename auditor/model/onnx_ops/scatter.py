"""Operators that write entries at given places of a copy."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from auditor.model.onnx_ops.call import Call, Kernel
from auditor.model.onnx_ops.gather import from_front

_REDUCTIONS: Mapping[str, str] = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(call: Call) -> Kernel:
    """Build ScatterElements along one axis."""
    axis = call.axis(call.integer("axis", 0))
    length = call.shape()[axis]
    write = _writer(call)
    return Kernel(
        lambda x, index, updates: write(x, axis, from_front(index, length), updates), (0, 1, 2)
    )


def scatter_nd(call: Call) -> Kernel:
    """Build ScatterND: slices of the operand, each given by the first entries of its index."""
    sizes, index_shape = call.shape(), call.shape(1)
    depth = index_shape[-1]
    if not 0 < depth <= len(sizes):
        raise call.wrong(f"an index into shape {sizes}", f"indices of shape {index_shape}")
    lead, tail = sizes[:depth], sizes[depth:]
    write = _writer(call)

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        flat = torch.zeros_like(index[..., 0], dtype=torch.int64)
        for place, length in enumerate(lead):
            flat = flat * length + from_front(index[..., place], length)
        rows = flat.reshape(-1, *([1] * len(tail))).expand(-1, *tail)
        return write(x.reshape(-1, *tail), 0, rows, updates.reshape(-1, *tail)).reshape(sizes)

    return Kernel(run, (0, 1, 2))


def _writer(call: Call) -> Callable[[Tensor, int, Tensor, Tensor], Tensor]:
    """Return what writes updates at places of an axis, replacing or combining entries."""
    reduction = call.text("reduction", "none")
    if reduction == "none":
        return torch.scatter
    if reduction == "add":
        return torch.scatter_add
    if reduction not in _REDUCTIONS:
        raise call.wrong("reduction none, add, mul, max or min", reduction)
    kind = _REDUCTIONS[reduction]
    return lambda x, axis, index, updates: torch.scatter_reduce(x, axis, index, updates, kind)
