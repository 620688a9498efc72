"""Keyed hashes of examples: who has the key can show that an example was in the data, or was not.

The hash of an example is HMAC-SHA256 (RFC 2104) of its columns in the order of their names: for
each the name, the dtype, the shape and the values, texts as UTF-8. Without the key nobody can try
guesses; with it equal examples have equal hashes.
"""

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np

from auditor.errors import DomainError

HASH_BYTES = 32
HASHES = "hmac_sha256"
"""Name of the tensor [N, 32] uint8 in the blob of a dataset's hashes."""
LEAST_KEY_BYTES = 16

ColumnRows = np.ndarray | Sequence[str]
"""One value per example: an array [N, ...], or N texts."""


def hash_rows(columns: Mapping[str, ColumnRows], *, key: bytes) -> np.ndarray:
    """Return the hash of every example, [N, 32] uint8.

    Args:
        columns: Values by name, as they were recorded.
        key: The secret, at least 16 bytes.

    Raises:
        DomainError: If the key is shorter.
    """
    if len(key) < LEAST_KEY_BYTES:
        raise DomainError(
            "key",
            expected=f"at least {LEAST_KEY_BYTES} secret bytes",
            found=f"{len(key)} bytes",
            remedy="Make one: head -c 32 /dev/urandom > key.",
        )
    count = len(next(iter(columns.values())))
    hashes = np.zeros((count, HASH_BYTES), dtype=np.uint8)
    ordered = sorted(columns.items())
    for row in range(count):
        code = hmac.new(key, digestmod=sha256)
        for name, values in ordered:
            for part in (name.encode(), *_value(values, row)):
                code.update(len(part).to_bytes(8, "little"))
                code.update(part)
        hashes[row] = np.frombuffer(code.digest(), dtype=np.uint8)
    return hashes


def _value(values: ColumnRows, row: int) -> tuple[bytes, bytes, bytes]:
    """Return dtype, shape and bytes of one value."""
    if not isinstance(values, np.ndarray):
        return b"text", b"", values[row].encode()
    one = np.asarray(values[row])
    plain = one.astype(one.dtype.newbyteorder("<"), copy=False)
    return plain.dtype.name.encode(), str(one.shape).encode(), plain.tobytes()
