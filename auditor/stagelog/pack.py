"""Write arrays as safetensors bytes without torch: the counterpart of ``tensors.py``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

_ALIGNMENT = 8


@final
@dataclass(frozen=True, slots=True)
class Packed:
    """An array as it is stored.

    Attributes:
        dtype: Its dtype in a safetensors header; of bfloat16 the array holds the bits.
        values: The array.
    """

    dtype: str
    values: np.ndarray


def pack_tensors(tensors: Mapping[str, Packed]) -> bytes:
    """Return a safetensors file; the same names and values always give the same bytes."""
    header: dict[str, object] = {}
    parts: list[bytes] = []
    position = 0
    for name in sorted(tensors):
        packed = tensors[name]
        plain = np.ascontiguousarray(packed.values)
        data = plain.astype(plain.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": packed.dtype,
            "shape": list(plain.shape),
            "data_offsets": [position, position + len(data)],
        }
        position += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))
