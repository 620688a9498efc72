"""Operators that make tensors: sizes, constants, ranges."""

from math import prod

import torch
from torch import Tensor

from auditor.model.onnx_ops.call import DTYPES, Call, Kernel
from auditor.model.onnx_tensors import dtype_name


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


def _from_end(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def eye_like(call: Call) -> Kernel:
    """Build EyeLike: ones on a diagonal, in the operand's shape."""
    rows, columns = call.shape()
    number = call.integer("dtype", 0)
    dtype = DTYPES[dtype_name(number, where=call.where)] if number else call.tensor(0).dtype
    diagonal = call.integer("k", 0)

    def run(x: Tensor) -> Tensor:
        places = torch.arange(columns, device=x.device) - torch.arange(
            rows, device=x.device
        ).unsqueeze(1)
        return (places == diagonal).to(dtype)

    return Kernel(run, (0,))
