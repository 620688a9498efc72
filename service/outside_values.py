"""Values that an outside tool wrote: JSON lines ``{"id": 3, "value": 0.25}``, or safetensors."""

import json
import math
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from auditor.audit.outside import OutsideValues
from auditor.errors import InputError

LIMIT_BYTES = 2**28
FORM = 'JSON lines such as {"id": 3, "value": 0.25}, or safetensors with `values` and `id`, [N]'
Row = tuple[int | None, float]


def read_values(path: Path, *, tool: str) -> OutsideValues:
    """Return the values in a file, in the order of their ids; without ids rows are counted from 0.

    Args:
        path: What the tool wrote.
        tool: Its name, for messages.

    Raises:
        InputError: If there is no such file, it has another form, a value is not finite, or an id
            is missing or there twice.
    """
    where = f"values of tool {tool!r}"
    if not path.is_file():
        raise _refused(where, found="no file", remedy="Let the tool write to the path {values}.")
    if path.stat().st_size > LIMIT_BYTES:
        raise _refused(where, found=f"more than {LIMIT_BYTES} bytes", remedy="Measure less.")
    data = path.read_bytes()
    rows = _from_tensors(data, where=where) if data[8:9] == b"{" else _from_lines(data, where=where)
    if not rows:
        raise _refused(where, found="no values", remedy="Return one value for each example.")
    unnamed = [identifier is None for identifier, _ in rows]
    if any(unnamed) and not all(unnamed):
        raise _refused(
            where, found=f"no id in row {unnamed.index(True)}", remedy="Give all rows an id."
        )
    ids = np.array([i if n is None else n for i, (n, _) in enumerate(rows)], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise _refused(
            f"{where}[id {ids[first]}]",
            found=float(values[first]),
            remedy="Return finite numbers; leave no example out.",
        )
    order = np.argsort(ids, kind="stable")
    ids, values = ids[order], values[order]
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice) > 0:
        raise _refused(where, found=f"id {ids[twice[0]]} twice", remedy="Give every id once.")
    return OutsideValues(values=values, ids=ids)


def _from_lines(data: bytes, *, where: str) -> list[Row]:
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line)
        except ValueError as error:
            raise _refused(f"{where}, line {number}", found=error, remedy="Write JSON.") from error
        rows.append(_row(plain, where=f"{where}, line {number}"))
    return rows


def _row(plain: object, *, where: str) -> Row:
    if not isinstance(plain, dict) or not {"value"} <= set(plain) <= {"id", "value"}:
        raise _refused(where, found=plain, remedy="Write `value`, and `id` if rows have one.")
    value, identifier = plain["value"], plain.get("id")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(where, found=value, remedy="Let `value` be a number.")
    if isinstance(identifier, bool) or not isinstance(identifier, int | None):
        raise _refused(where, found=identifier, remedy="Let `id` be a whole number.")
    if identifier is not None and abs(identifier) >= 2**63:
        raise _refused(where, found=identifier, remedy="Let `id` fit 64 bits.")
    too_large = isinstance(value, int) and abs(value) >= 2**1023
    return identifier, math.inf if too_large else float(value)


def _from_tensors(data: bytes, *, where: str) -> list[Row]:
    try:
        arrays = load_arrays(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise _refused(where, found=error, remedy="Write a safetensors file.") from error
    values, ids = arrays.get("values"), arrays.get("id")
    if values is None or values.ndim != 1 or values.dtype.kind != "f":
        raise _refused(where, found="no `values` [N] of numbers", remedy="Name the tensor so.")
    if ids is None:
        return [(None, float(value)) for value in values]
    if ids.shape != values.shape or ids.dtype.kind not in "iu":
        raise _refused(
            where, found="`id` of another shape or dtype", remedy="Let `id` be [N] int64."
        )
    return [(int(i), float(value)) for i, value in zip(ids, values, strict=True)]


def _refused(where: str, *, found: object, remedy: str) -> InputError:
    return InputError(where, expected=FORM, found=found, remedy=remedy)
