"""Tensors of a blob as read-only numpy views, without torch and without copies."""

from collections.abc import Mapping

import numpy as np

from auditor.errors import NumericalError
from auditor.stagelog.safetensors_header import TensorEntry, read_header

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""A manifest's name of each dtype in a safetensors header."""

_BFLOAT16_EXPONENT = 0x7F80
_CHUNK_ELEMENTS = 2**22


def tensor_entries(data: memoryview, *, where: str) -> Mapping[str, TensorEntry]:
    """Return where each tensor of a safetensors blob lies, its header checked."""
    return read_header(data, where=where)


def view(data: memoryview, entry: TensorEntry) -> np.ndarray:
    """Return a tensor as an array; bfloat16, which numpy lacks, as its bits in uint16."""
    dtype = np.dtype("uint16" if entry.dtype == "BF16" else DTYPES[entry.dtype])
    return np.frombuffer(data[entry.begin : entry.end], dtype=dtype).reshape(entry.shape)


def require_finite_tensor(data: memoryview, entry: TensorEntry, *, where: str) -> None:
    """Refuse a tensor with NaN or infinity.

    Raises:
        NumericalError: If there is one.
    """
    values = view(data, entry).reshape(-1)
    if values.dtype.kind not in "fu" or entry.dtype == "U8":
        return
    for begin in range(0, len(values), _CHUNK_ELEMENTS):
        chunk = values[begin : begin + _CHUNK_ELEMENTS]
        if entry.dtype == "BF16":
            finite = (chunk & _BFLOAT16_EXPONENT) != _BFLOAT16_EXPONENT
        else:
            finite = np.isfinite(chunk)
        if not finite.all():
            raise NumericalError(
                where,
                expected="finite numbers",
                found=f"NaN or infinity at position {begin + int(np.argmin(finite))}",
                remedy="The training diverged or the blob is damaged: record from before that.",
            )
