"""Named tensors from and to safetensors bytes; nothing is unpickled."""

from collections.abc import Mapping
from types import MappingProxyType

import safetensors.torch
import torch
from torch import Tensor

from auditor.errors import UnsupportedError
from auditor.model.limits import DEFAULT_LIMITS, ImportLimits
from auditor.model.safetensors_header import TensorEntry, read_header

DTYPES: Mapping[str, torch.dtype] = MappingProxyType({
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
})  # fmt: skip
"""torch dtype of each dtype in a safetensors header."""


def read_tensors(
    data: bytes | bytearray | memoryview, *, where: str, limits: ImportLimits = DEFAULT_LIMITS
) -> dict[str, Tensor]:
    """Return every tensor of a safetensors file, by name, on the CPU, in memory of its own.

    Args:
        data: The whole file; may be read-only and memory-mapped.
        where: What the file is, for messages.
        limits: Bounds on the header.

    Raises:
        InputError: If the file is malformed.
        UnsupportedError: If a dtype is not accepted.
        ResourceError: If a limit is exceeded.
    """
    view = memoryview(data)
    entries = read_header(view, where=where, limits=limits)
    return {name: _tensor(view, entry) for name, entry in entries.items()}


def write_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file; the same names and values always give the same bytes.

    Args:
        tensors: By name, on any device.

    Raises:
        UnsupportedError: If a tensor has a dtype that :func:`read_tensors` would refuse.
    """
    accepted = set(DTYPES.values())
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.dtype not in accepted:
            raise UnsupportedError(
                f"tensor {name!r}",
                expected="one of " + ", ".join(str(dtype) for dtype in DTYPES.values()),
                found=tensor.dtype,
                remedy="Convert the tensor before it is stored.",
            )
        plain = tensor.detach().cpu().contiguous()
        # The library refuses tensors that share memory; a view of a larger one may do so.
        storage = plain.untyped_storage()
        shares = storage.nbytes() != plain.nbytes or storage.data_ptr() in seen
        seen.add(storage.data_ptr())
        stored[name] = plain.clone() if shares else plain
    return safetensors.torch.save(stored)


def _tensor(view: memoryview, entry: TensorEntry) -> Tensor:
    dtype = DTYPES[entry.dtype]
    if entry.begin == entry.end:
        return torch.zeros(entry.shape, dtype=dtype)
    # A copy: torch wants writable memory, and a mapped file must not stay open for the tensor.
    return torch.frombuffer(bytearray(view[entry.begin : entry.end]), dtype=dtype).reshape(
        entry.shape
    )
