"""Operators of sequences of tensors; their lengths are known once shapes are fixed."""

import torch
from torch import Tensor

from auditor.model.onnx_ops.call import Call, Kernel
from auditor.model.onnx_ops.padding import MOST_PARTS


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


def sequence_construct(call: Call) -> Kernel:
    """Build SequenceConstruct of one or more tensors."""
    return Kernel(lambda *tensors: list(tensors), call.present)


def sequence_length(call: Call) -> Kernel:
    """Build SequenceLength: a constant once shapes are fixed."""
    length = len(_items(call))
    return Kernel(lambda: torch.tensor(length, dtype=torch.int64), ())


def concat_from_sequence(call: Call) -> Kernel:
    """Build ConcatFromSequence along an axis, or along a new one."""
    items, new = _items(call), call.integer("new_axis", 0)
    axis = call.axis(call.integer("axis"), rank=items[0].dim() + new)
    join = torch.stack if new else torch.cat
    return Kernel(lambda tensors: join(tensors, dim=axis), (0,))


def _items(call: Call) -> list[Tensor]:
    sequence = call.operand(0).value
    if isinstance(sequence, Tensor) or not sequence:
        raise call.wrong("a sequence of one or more tensors", "others")
    return sequence
