"""Check the header of a safetensors file before anything else reads it; no torch, no numpy.

The library of the same name accepts what a signed audit cannot: duplicate names (the last wins),
duplicate metadata keys, control characters. The layout is that of
https://github.com/huggingface/safetensors: eight bytes of little-endian header length, a JSON
object, then the tensors back to back without holes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

from auditor.errors import InputError, ResourceError, UnsupportedError

DTYPE_BYTES: Mapping[str, int] = MappingProxyType({
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
})  # fmt: skip
"""Bytes of one entry for each dtype that is accepted."""

_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_REMEDY = "Write the file again with a current safetensors release."


class HeaderLimits(Protocol):
    """Bounds on a header, checked before the memory they protect is asked for."""

    @property
    def header_bytes(self) -> int:
        """Length of the header."""

    @property
    def initializers(self) -> int:
        """Number of tensors."""

    @property
    def name_characters(self) -> int:
        """Length of a tensor's name."""

    @property
    def rank(self) -> int:
        """Axes of a tensor."""

    @property
    def dimension(self) -> int:
        """Length of an axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _RecordedLimits:
    """Limits of the blobs of a log."""

    header_bytes: int = 16 * 2**20
    initializers: int = 100_000
    name_characters: int = 512
    rank: int = 8
    dimension: int = 2**40


RECORDED_LIMITS: HeaderLimits = _RecordedLimits()


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: bytes ``[begin, end)`` of the file, row-major, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(
    data: bytes | bytearray | memoryview, *, where: str, limits: HeaderLimits = RECORDED_LIMITS
) -> dict[str, TensorEntry]:
    """Return where each tensor of a safetensors file lies, in order of position.

    Args:
        data: The whole file.
        where: What the file is, for messages.
        limits: Bounds on header length, number of tensors, rank and names.

    Raises:
        InputError: If the file is malformed: truncated, no JSON, duplicate or unprintable names,
            unknown fields, shapes that do not fit the offsets, overlaps, holes, trailing bytes.
        UnsupportedError: If a dtype is not accepted.
        ResourceError: If a limit is exceeded.
    """
    begin = _LENGTH_BYTES
    if len(data) < begin:
        _refuse(where, "a safetensors file of at least 8 bytes", f"{len(data)} bytes")
    length = int.from_bytes(bytes(data[:begin]), "little")
    if length > limits.header_bytes:
        raise ResourceError(
            f"{where}: header",
            expected=f"at most {limits.header_bytes} bytes",
            found=f"{length} bytes",
            remedy="Store fewer tensors in one file, or check that it is a safetensors file.",
        )
    if length > len(data) - begin:
        _refuse(f"{where}: header", f"{length} bytes", f"{len(data) - begin} bytes left")
    header = _parse(bytes(data[begin : begin + length]), where=where)
    _check_metadata(header.pop(_METADATA, {}), where=where)
    if len(header) > limits.initializers:
        raise ResourceError(
            where,
            expected=f"at most {limits.initializers} tensors",
            found=len(header),
            remedy="Store fewer tensors in one file.",
        )
    start = begin + length
    entries = {
        name: _entry(fields, where=_tensor(where, name, limits), start=start, limits=limits)
        for name, fields in header.items()
    }
    ordered = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))
    position = start
    for name, entry in ordered:
        if entry.begin != position:
            _refuse(
                f"{where}: tensor {name!r}",
                f"to begin where the one before ends, at byte {position - start}",
                entry.begin - start,
            )
        position = entry.end
    if position != len(data):
        _refuse(where, f"{position} bytes in all", f"{len(data)} bytes")
    return dict(ordered)


def _parse(text: bytes, *, where: str) -> dict[str, Any]:
    """Return the JSON header; duplicate keys, anywhere, are refused."""
    if not text.startswith(b"{"):
        _refuse(f"{where}: header", "a JSON object", "something else")
    try:
        header = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_constant=_reject_constant,
        )
    except (ValueError, RecursionError) as error:
        # ValueError covers malformed UTF-8, malformed JSON and integers of too many digits.
        raise InputError(
            f"{where}: header",
            expected="a JSON object with distinct keys",
            found=str(error) or type(error).__name__,
            remedy=_REMEDY,
        ) from error
    if not isinstance(header, dict):
        _refuse(f"{where}: header", "a JSON object", type(header).__name__)
    return header


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_metadata(metadata: object, *, where: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _refuse(f"{where}: {_METADATA}", "an object of texts", "something else")


def _tensor(where: str, name: str, limits: HeaderLimits) -> str:
    """Return how messages call the tensor; its name is checked."""
    place = f"{where}: tensor {name[:64]!r}"
    if not name or len(name) > limits.name_characters or not name.isprintable():
        _refuse(place, f"a printable name of 1 to {limits.name_characters} characters", name)
    return place


def _entry(fields: object, *, where: str, start: int, limits: HeaderLimits) -> TensorEntry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(where, "the fields dtype, shape and data_offsets", "others")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise UnsupportedError(
            f"{where}.dtype",
            expected="one of " + ", ".join(DTYPE_BYTES),
            found=dtype,
            remedy="Convert the tensor to a dtype that is accepted.",
        )
    if not _counts(shape, limits.dimension) or len(shape) > limits.rank:
        _refuse(
            f"{where}.shape",
            f"at most {limits.rank} axes of 0 to {limits.dimension}",
            shape,
        )
    if not _counts(offsets, 2**63 - 1) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(f"{where}.data_offsets", "two ascending byte positions", offsets)
    bytes_expected = prod(shape) * DTYPE_BYTES[dtype]
    if offsets[1] - offsets[0] != bytes_expected:
        _refuse(
            f"{where}.data_offsets",
            f"{bytes_expected} bytes for {dtype} of shape {tuple(shape)}",
            f"{offsets[1] - offsets[0]} bytes",
        )
    return TensorEntry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _counts(value: object, largest: int) -> bool:
    """Return whether ``value`` is a list of integers (no booleans) from 0 to ``largest``."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= largest for n in value)


def _refuse(where: str, expected: str, found: object) -> NoReturn:
    raise InputError(where, expected=expected, found=found, remedy=_REMEDY)
