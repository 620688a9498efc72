"""JSON from strangers: bounded, without duplicate keys, and errors that name the field."""

import json
from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from auditor.errors import StageLogError
from auditor.stagelog.record import Record

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 32

R = TypeVar("R", bound=Record)


class _DuplicateKeyError(ValueError):
    """An object names a key twice, so that two readers may see two values."""


def load_object(data: bytes | memoryview, *, where: str) -> dict[str, object]:
    """Return the top-level object of some JSON.

    Args:
        data: UTF-8 bytes, at most 16 MiB.
        where: The file's name in messages.

    Raises:
        StageLogError: If the bytes are too many, no JSON, nested deeper than 32, contain a
            duplicate key or a number that JSON does not have, or are no object.
    """
    if len(data) > MAX_BYTES:
        raise StageLogError(
            where,
            expected=f"at most {MAX_BYTES} bytes",
            found=f"{len(data)} bytes",
            remedy="Put data into blobs; the manifest only names them.",
        )
    try:
        value = json.loads(
            str(data, "utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except _DuplicateKeyError as error:
        raise StageLogError(
            where, expected="every key once", found=str(error), remedy="Remove one of the two."
        ) from error
    except RecursionError as error:
        raise _too_deep(where) from error
    except ValueError as error:
        raise StageLogError(
            where, expected="JSON in UTF-8", found=str(error), remedy="Record or push it again."
        ) from error
    if not isinstance(value, dict):
        raise StageLogError(
            where,
            expected="a JSON object",
            found=type(value).__name__,
            remedy="Pass the manifest itself.",
        )
    _require_depth(value, where=where)
    return value


def parse_record(record: type[R], data: bytes | memoryview, *, where: str) -> R:
    """Return a record read from JSON that :func:`load_object` accepted.

    Raises:
        StageLogError: If a field is missing, unknown or of another type; ``where`` is its path.
    """
    try:
        return record.model_validate_json(bytes(data))
    except ValidationError as error:
        raise refusal(error, where=where) from error


def refusal(error: ValidationError, *, where: str) -> StageLogError:
    """Return our error for the first problem of a record that was refused.

    Args:
        error: What pydantic raised.
        where: What the record is, for a problem of the record as a whole.
    """
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
    return StageLogError(
        field_path(first["loc"]) or where,
        expected=_expected(first),
        found="nothing" if first["type"] == "missing" else first["input"],
        remedy=f"Correct the field as docs/reference describes it.{more}",
    )


def first_problem(error: ValidationError, *, where: str) -> tuple[str, str]:
    """Return the path of the first field that was refused, and what is wrong with it.

    Args:
        error: What pydantic raised.
        where: What the record is; the path begins with it.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = field_path(first["loc"])
    return (f"{where}.{path}" if path and path[0] != "[" else where + path), first["msg"]


def field_path(location: Sequence[str | int]) -> str:
    """Return a path such as ``stages[2].first_step`` or ``parameters["fc.weight"].shape``."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part == "[key]":
            continue
        elif part.isidentifier():
            path += f".{part}" if path else part
        else:
            path += f'["{part}"]'
    return path


def _expected(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "missing":
            return "this field"
        case "extra_forbidden":
            return "no field of this name"
        case _:
            return problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(f"key {key!r} twice")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _require_depth(value: object, *, where: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            for child in (
                item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            )
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _too_deep(where)


def _too_deep(where: str) -> StageLogError:
    return StageLogError(
        where,
        expected=f"nesting of at most {MAX_DEPTH}",
        found="deeper nesting",
        remedy="Pass a manifest as docs/reference/stagelog.md describes it.",
    )
