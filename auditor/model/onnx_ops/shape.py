"""Operators that rearrange entries, or make tensors of given shapes."""

from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import Call, Kernel

MOST_PARTS = 65_536
"""Longest axis that is split into a sequence, or padded by repeating its entries."""


def shape(call: Call) -> Kernel:
    """Build Shape: a constant once shapes are fixed."""
    sizes = call.shape()
    rank = len(sizes)
    start = min(max(_from_end(call.integer("start", 0), rank), 0), rank)
    end = min(max(_from_end(call.integer("end", rank), rank), 0), rank)
    return Kernel(lambda: torch.tensor(sizes[start:end], dtype=torch.int64), ())


def size(call: Call) -> Kernel:
    """Build Size: a constant once shapes are fixed."""
    entries = prod(call.shape())
    return Kernel(lambda: torch.tensor(entries, dtype=torch.int64), ())


def constant(call: Call) -> Kernel:
    """Build Constant from whichever of its attributes is given."""
    array = call.array("value")
    if array is not None:
        return Kernel(lambda: torch.from_numpy(array), ())
    if len(call.node.attributes) != 1:
        raise call.wrong("one value", f"{len(call.node.attributes)} attributes")
    ((name, value),) = call.node.attributes.items()
    if name in {"value_int", "value_ints"}:
        return Kernel(lambda: torch.tensor(value, dtype=torch.int64), ())
    if name in {"value_float", "value_floats"}:
        return Kernel(lambda: torch.tensor(value, dtype=torch.float32), ())
    raise call.unsupported("numbers or a tensor", name)


def constant_of_shape(call: Call) -> Kernel:
    """Build ConstantOfShape."""
    sizes = call.host(0)
    array = call.array("value")
    filler = torch.zeros(1) if array is None else torch.from_numpy(array)
    if filler.numel() != 1 or min(sizes, default=0) < 0:
        raise call.wrong("one value and sizes >= 0", f"{filler.numel()} values, sizes {sizes}")
    number, dtype = filler.item(), filler.dtype
    # The operand is used for its device only, so that the size is known before it is allocated.
    return Kernel(lambda x: torch.full(sizes, number, dtype=dtype, device=x.device), (0,))


def arithmetic_range(call: Call) -> Kernel:
    """Build Range: start, start + delta, ... before limit."""
    start, limit, delta = (call.host_number(i) for i in range(3))
    dtype = call.tensor(0).dtype
    if delta == 0:
        raise call.wrong("delta other than 0", delta)
    count = max(-int((start - limit) // delta), 0)
    return Kernel(
        lambda a, _, d: a + d * torch.arange(count, dtype=dtype, device=a.device), (0, 1, 2)
    )


def reshape(call: Call) -> Kernel:
    """Build Reshape: 0 keeps an axis (without ``allowzero``), -1 takes what is left."""
    wanted, sizes = call.host(1), call.shape()
    if not call.integer("allowzero", 0):
        if any(n == 0 and i >= len(sizes) for i, n in enumerate(wanted)):
            raise call.wrong(f"0 only in the first {len(sizes)} axes", wanted)
        wanted = [sizes[i] if n == 0 else n for i, n in enumerate(wanted)]
    if wanted.count(-1) == 1 and 0 not in wanted:
        known = prod(n for n in wanted if n != -1)
        wanted = [prod(sizes) // known if n == -1 else n for n in wanted]
    if min(wanted, default=0) < 0 or prod(wanted) != prod(sizes):
        raise call.wrong(f"a shape of {prod(sizes)} entries", wanted)
    return Kernel(lambda x: x.reshape(wanted), (0,))


def flatten(call: Call) -> Kernel:
    """Build Flatten to two axes."""
    sizes = call.shape()
    axis = call.integer("axis", 1)
    split = _from_end(axis, len(sizes))
    if not 0 <= split <= len(sizes):
        raise call.wrong(f"an axis from {-len(sizes)} to {len(sizes)}", axis)
    target = (prod(sizes[:split]), prod(sizes[split:]))
    return Kernel(lambda x: x.reshape(target), (0,))


def squeeze(call: Call) -> Kernel:
    """Build Squeeze of the given axes, or of all axes of length 1."""
    sizes = call.shape()
    axes = call.axes(1)
    dropped = {i for i, n in enumerate(sizes) if n == 1} if axes is None else set(axes)
    if any(sizes[axis] != 1 for axis in dropped):
        raise call.wrong("axes of length 1", f"shape {sizes}, axes {sorted(dropped)}")
    target = [n for i, n in enumerate(sizes) if i not in dropped]
    return Kernel(lambda x: x.reshape(target), (0,))


def unsqueeze(call: Call) -> Kernel:
    """Build Unsqueeze; axes are those of the result."""
    given = call.host(1) if call.has(1) else list(call.integers("axes") or ())
    rank = call.rank() + len(given)
    axes = {call.axis(axis, rank=rank) for axis in given}
    if len(axes) != len(given):
        raise call.wrong("different axes", given)
    sizes = iter(call.shape())
    target = [1 if i in axes else next(sizes) for i in range(rank)]
    return Kernel(lambda x: x.reshape(target), (0,))


def transpose(call: Call) -> Kernel:
    """Build Transpose; without ``perm`` the axes are reversed."""
    order = call.integers("perm") or tuple(reversed(range(call.rank())))
    if sorted(order) != list(range(call.rank())):
        raise call.wrong(f"a permutation of {call.rank()} axes", order)
    return Kernel(lambda x: x.permute(order), (0,))


def concat(call: Call) -> Kernel:
    """Build Concat."""
    axis = call.axis(call.integer("axis"))
    return Kernel(lambda *tensors: torch.cat(tensors, dim=axis), call.present)


def expand(call: Call) -> Kernel:
    """Build Expand: broadcast with the given shape, which may be the smaller one."""
    sizes, wanted = list(call.shape()), call.host(1)
    rank = max(len(sizes), len(wanted))
    padded = [1] * (rank - len(sizes)) + sizes
    wanted = [1] * (rank - len(wanted)) + wanted
    if any(n != m and 1 not in {n, m} for n, m in zip(padded, wanted, strict=True)):
        raise call.wrong(f"a shape that broadcasts with {sizes}", wanted)
    target = [m if n == 1 else n for n, m in zip(padded, wanted, strict=True)]
    return Kernel(lambda x: x.expand(target), (0,))


def tile(call: Call) -> Kernel:
    """Build Tile: repeat along each axis."""
    repeats = call.host(1)
    if len(repeats) != call.rank() or min(repeats, default=0) < 0:
        raise call.wrong(f"{call.rank()} counts >= 0", repeats)
    return Kernel(lambda x: x.repeat(repeats), (0,))


def split(call: Call) -> Kernel:
    """Build Split into given lengths, or into equal ones with a shorter last."""
    axis = call.axis(call.integer("axis", 0))
    length, parts = call.shape()[axis], len(call.node.outputs)
    if call.has(1):
        lengths = call.host(1)
    else:
        if call.integer("num_outputs", parts) != parts:
            raise call.wrong(f"{parts} parts", call.integer("num_outputs"))
        chunk = -(-length // max(parts, 1))
        lengths = [max(min(chunk, length - i * chunk), 0) for i in range(parts)]
    if sum(lengths) != length or min(lengths, default=0) < 0:
        raise call.wrong(f"lengths that add up to {length}", lengths)
    if len(lengths) != len(call.node.outputs):
        raise call.wrong(f"{len(call.node.outputs)} parts", len(lengths))
    if len(lengths) == 1:
        return Kernel(lambda x: x, (0,))
    return Kernel(lambda x: torch.split(x, lengths, dim=axis), (0,), results=len(lengths))


def split_to_sequence(call: Call) -> Kernel:
    """Build SplitToSequence into given lengths, equal ones, or single entries."""
    axis = call.axis(call.integer("axis", 0))
    length = call.shape()[axis]
    if length > MOST_PARTS:
        raise call.unsupported(f"at most {MOST_PARTS} entries along the axis", length)
    if not call.has(1):
        keep = call.integer("keepdims", 1)
        return Kernel(
            lambda x: list(torch.split(x, 1, dim=axis) if keep else torch.unbind(x, dim=axis)),
            (0,),
        )
    if call.rank(1) == 0:
        chunk = int(call.host_number(1))
        if chunk < 1:
            raise call.wrong("a length >= 1", chunk)
        return Kernel(lambda x: list(torch.split(x, chunk, dim=axis)), (0,))
    lengths = call.host(1)
    if sum(lengths) != length or min(lengths, default=0) < 0:
        raise call.wrong(f"lengths that add up to {length}", lengths)
    return Kernel(lambda x: list(torch.split(x, lengths, dim=axis)), (0,))


def sequence_at(call: Call) -> Kernel:
    """Build SequenceAt with a constant position."""
    sequence = call.operand(0).value
    if isinstance(sequence, Tensor):
        raise call.wrong("a sequence", "a tensor")
    position = call.axis(int(call.host_number(1)), rank=len(sequence))
    return Kernel(lambda items: items[position], (0,))


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


def trilu(call: Call) -> Kernel:
    """Build Trilu: the upper or lower triangle of the last two axes."""
    diagonal = int(call.host_number(1)) if call.has(1) else 0
    triangle = torch.triu if call.integer("upper", 1) else torch.tril
    return Kernel(lambda x: triangle(x, diagonal=diagonal), (0,))


def depth_to_space(call: Call) -> Kernel:
    """Build DepthToSpace: channels become blocks of pixels."""
    block = call.integer("blocksize")
    n, c, h, w = call.shape()
    deep = c // (block * block)
    if call.text("mode", "DCR") == "DCR":
        inner, order = (n, block, block, deep, h, w), (0, 3, 4, 1, 5, 2)
    else:
        inner, order = (n, deep, block, block, h, w), (0, 1, 4, 2, 5, 3)
    target = (n, deep, h * block, w * block)
    return Kernel(lambda x: x.reshape(inner).permute(order).reshape(target), (0,))


def space_to_depth(call: Call) -> Kernel:
    """Build SpaceToDepth: blocks of pixels become channels."""
    block = call.integer("blocksize")
    n, c, h, w = call.shape()
    inner = (n, c, h // block, block, w // block, block)
    target = (n, c * block * block, h // block, w // block)
    order = (0, 3, 5, 1, 2, 4) if call.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return Kernel(lambda x: x.reshape(inner).permute(order).reshape(target), (0,))


def _from_end(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def _padded_places(length: int, before: int, after: int, *, mode: str) -> list[int]:
    """Return which entry stands at each place of the padded axis."""
    places = range(-before, length + after)
    if mode == "edge":
        return [min(max(i, 0), length - 1) for i in places]
    if mode == "wrap":
        return [i % length for i in places]
    period = max(2 * (length - 1), 1)
    return [min(i % period, period - i % period) if length > 1 else 0 for i in places]
