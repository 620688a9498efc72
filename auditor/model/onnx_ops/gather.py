"""Operators that pick or place entries by index."""

import torch
from torch import Tensor

from auditor.model.onnx_ops.call import Call, Kernel


def gather(call: Call) -> Kernel:
    """Build Gather: rows of an axis by index, negative ones from its end."""
    axis = call.axis(call.integer("axis", 0))
    length = call.shape()[axis]
    if call.is_constant(1):
        return _gather_constant(call, axis=axis, length=length)
    lead, index_shape, tail = call.shape()[:axis], call.shape(1), call.shape()[axis + 1 :]

    def run(x: Tensor, index: Tensor) -> Tensor:
        rows = x.index_select(axis, from_front(index, length).reshape(-1))
        return rows.reshape(*lead, *index_shape, *tail)

    return Kernel(run, (0, 1))


def gather_elements(call: Call) -> Kernel:
    """Build GatherElements."""
    axis = call.axis(call.integer("axis", 0))
    length = call.shape()[axis]
    return Kernel(lambda x, index: x.gather(axis, from_front(index, length)), (0, 1))


def gather_nd(call: Call) -> Kernel:
    """Build GatherND; the first ``batch_dims`` axes are shared."""
    shared = call.integer("batch_dims", 0)
    sizes, index_shape = call.shape(), call.shape(1)
    depth = index_shape[-1]
    indexed = sizes[shared : shared + depth]
    if shared >= len(index_shape) or len(indexed) != depth:
        raise call.wrong(f"an index into shape {sizes}", f"indices of shape {index_shape}")
    lead, tail = sizes[:shared], sizes[shared + depth :]
    target = (*index_shape[:-1], *tail)

    def run(x: Tensor, index: Tensor) -> Tensor:
        flat = torch.zeros_like(index[..., 0])
        for place, length in enumerate(indexed):
            flat = flat * length + from_front(index[..., place], length)
        table = x.reshape(*lead, -1, *tail)
        rows = flat.reshape(*lead, -1)  # [*lead, M]
        rows = rows.reshape(*rows.shape, *([1] * len(tail))).expand(*rows.shape, *tail)
        return table.gather(shared, rows).reshape(target)

    return Kernel(run, (0, 1))


def slice_axes(call: Call) -> Kernel:
    """Build Slice; a negative step walks backwards."""
    starts, ends = call.host(1), call.host(2)
    axes = [call.axis(a) for a in call.host(3)] if call.has(3) else list(range(len(starts)))
    steps = call.host(4) if call.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.wrong("as many starts, ends, axes and steps other than 0", "others")
    sizes = call.shape()
    places = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Python clamps the bounds of a slice just as ONNX does, but reads end = -n - 1 as "-1".
        first, last, stride = slice(start, _python_end(end, sizes[axis]), step).indices(sizes[axis])
        places[axis] = range(first, last, stride)

    def run(x: Tensor) -> Tensor:
        for axis, where in places.items():
            forward = where if where.step > 0 else where[::-1]
            if len(forward) == 0:
                x = x.narrow(axis, 0, 0)
                continue
            x = x[(slice(None),) * axis + (slice(forward[0], forward[-1] + 1, forward.step),)]
            x = x if where.step > 0 else x.flip(axis)
        return x

    return Kernel(run, (0,))


def where(call: Call) -> Kernel:
    """Build Where."""
    return Kernel(torch.where, (0, 1, 2))


def one_hot(call: Call) -> Kernel:
    """Build OneHot: off and on values along a new axis."""
    depth = int(call.host_number(1))
    rank = call.rank() + 1
    axis = call.axis(call.integer("axis", -1), rank=rank)
    places = [1] * rank
    places[axis] = depth
    if depth < 1:
        raise call.wrong("a depth >= 1", depth)

    def run(index: Tensor, values: Tensor) -> Tensor:
        classes = torch.arange(depth, device=index.device).reshape(places)
        hit = torch.remainder(index, depth).unsqueeze(axis) == classes
        inside = ((index >= -depth) & (index < depth)).unsqueeze(axis)
        return torch.where(hit & inside, values[1], values[0])

    return Kernel(run, (0, 2))


def _gather_constant(call: Call, *, axis: int, length: int) -> Kernel:
    index = call.host(1)
    if any(not -length <= i < length for i in index):
        raise call.wrong(f"indices from {-length} to {length - 1}", index)
    if call.rank(1) == 0:
        (place,) = index
        return Kernel(lambda x: x.select(axis, place), (0,))
    target = (*call.shape()[:axis], *call.shape(1), *call.shape()[axis + 1 :])
    return Kernel(
        lambda x, i: x.index_select(axis, from_front(i, length).reshape(-1)).reshape(target),
        (0, 1),
    )


def from_front(index: Tensor, length: int) -> Tensor:
    """Return indices counted from the front, as int64."""
    index = index.to(torch.int64)
    return torch.where(index < 0, index + length, index)


def _python_end(end: int, length: int) -> int | None:
    return None if end < -length else end
