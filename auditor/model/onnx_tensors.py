"""Tensors inside an ONNX file, checked before numpy sees them; no torch.

``numpy_helper.to_array`` resolves external data against the working folder, reads a negative
axis as "whatever fits" and raises KeyError on an unknown dtype: it is called last.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from auditor.errors import InputError, ResourceError, UnsupportedError
from auditor.model.limits import ImportLimits


@dataclass(frozen=True, slots=True)
class TensorEncoding:
    """Name and size of a dtype, and the protobuf field that may hold its entries."""

    name: str
    bytes: int
    field: str


ENCODINGS: Mapping[int, TensorEncoding] = MappingProxyType({
    TensorProto.DOUBLE: TensorEncoding("float64", 8, "double_data"),
    TensorProto.FLOAT: TensorEncoding("float32", 4, "float_data"),
    TensorProto.FLOAT16: TensorEncoding("float16", 2, "int32_data"),
    TensorProto.INT64: TensorEncoding("int64", 8, "int64_data"),
    TensorProto.INT32: TensorEncoding("int32", 4, "int32_data"),
    TensorProto.INT16: TensorEncoding("int16", 2, "int32_data"),
    TensorProto.INT8: TensorEncoding("int8", 1, "int32_data"),
    TensorProto.UINT8: TensorEncoding("uint8", 1, "int32_data"),
    TensorProto.BOOL: TensorEncoding("bool", 1, "int32_data"),
})  # fmt: skip
"""The dtypes that are accepted."""

_DATA_FIELDS = (
    "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data",
)  # fmt: skip
_REMEDY = "Export the model again with torch.onnx.export(dynamo=True, optimize=False)."


def dtype_name(data_type: int, *, where: str) -> str:
    """Return the name of an ONNX dtype.

    Raises:
        UnsupportedError: If it is not accepted.
    """
    return _encoding(data_type, where=where).name


def shape_of(dims: Iterable[int], *, where: str, limits: ImportLimits) -> tuple[int, ...]:
    """Return the axes of a tensor.

    Raises:
        InputError: If an axis is negative or too long.
        ResourceError: If there are too many axes.
    """
    shape = tuple(dims)
    if len(shape) > limits.rank:
        raise ResourceError(
            where,
            expected=f"at most {limits.rank} axes",
            found=len(shape),
            remedy="Flatten the tensor.",
        )
    if any(not 0 <= axis <= limits.dimension for axis in shape):
        raise InputError(
            where,
            expected=f"axes from 0 to {limits.dimension}",
            found=shape,
            remedy=_REMEDY,
        )
    return shape


def tensor_bytes(tensor: TensorProto, *, where: str, limits: ImportLimits) -> int:
    """Return how many bytes the tensor's array takes, having checked that the file holds them.

    Raises:
        InputError: If the data lie elsewhere, are split, or do not fit the shape.
        UnsupportedError: If the dtype is not accepted.
        ResourceError: If there are too many axes.
    """
    encoding = _encoding(tensor.data_type, where=where)
    shape = shape_of(tensor.dims, where=f"{where}.dims", limits=limits)
    if tensor.data_location != TensorProto.DEFAULT or len(tensor.external_data):
        raise InputError(
            where,
            expected="data inside the file",
            found="external data",
            remedy="Save the model as one file, without external data.",
        )
    if tensor.HasField("segment"):
        raise InputError(where, expected="a whole tensor", found="a segment", remedy=_REMEDY)
    entries = prod(shape)
    filled = [field for field in _DATA_FIELDS if len(getattr(tensor, field))]
    if tensor.HasField("raw_data"):
        fits = not filled and len(tensor.raw_data) == entries * encoding.bytes
    else:
        fits = filled in ([], [encoding.field]) and (
            len(getattr(tensor, encoding.field)) == entries
        )
    if not fits:
        raise InputError(
            where,
            expected=f"{entries} entries of {encoding.name}",
            found="another amount of data",
            remedy=_REMEDY,
        )
    return entries * encoding.bytes


def tensor_array(tensor: TensorProto, *, where: str) -> np.ndarray:
    """Return the array of a tensor that :func:`tensor_bytes` has accepted.

    Raises:
        InputError: If an entry does not fit the dtype.
    """
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, onnx.checker.ValidationError) as error:
        raise InputError(
            where, expected="a readable tensor", found=str(error), remedy=_REMEDY
        ) from error
    # Of raw data it is a view of bytes, and torch wants memory that can be written.
    return array if array.flags.writeable else array.copy()


def _encoding(data_type: int, *, where: str) -> TensorEncoding:
    encoding = ENCODINGS.get(data_type)
    if encoding is None:
        names = {number: name for name, number in TensorProto.DataType.items()}
        raise UnsupportedError(
            f"{where}.dtype",
            expected="one of " + ", ".join(known.name for known in ENCODINGS.values()),
            found=names.get(data_type, data_type),
            remedy="Export the model in one of these dtypes.",
        )
    return encoding
