"""Operators that rearrange entries."""

from math import prod

import torch

from auditor.model.onnx_ops.call import Call, Kernel


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
