"""Bytes to values, strictly: one document has one spelling, and only that one is read.

Signed documents are parsed here and nowhere else. JSON must be UTF-8 in its RFC 8785 form and
base64 must be in its only padded form, so that two byte strings never mean the same document.
"""

import base64
import binascii
import json
from typing import Any, NoReturn, TypeVar

import rfc8785
from pydantic import BaseModel, ValidationError

from auditor.errors import DocumentRefusedError

JSON_DEPTH = 32
COMMA_LIMIT = 2**20  # a bound on the number of values, checked before anything is built of them

RecordT = TypeVar("RecordT", bound=BaseModel)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a name that occurs twice: readers disagree on which one counts."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has two members of one name")
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _depth(value: object) -> int:
    """Nesting depth of a parsed document, level by level and so without recursion."""
    depth, level = 0, [value]
    while level:
        depth += 1
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [
            child
            for item in containers
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def parse_canonical(data: bytes, *, where: str) -> dict[str, Any]:
    """Return a JSON object whose RFC 8785 bytes are exactly ``data``.

    Raises:
        DocumentRefusedError: If ``data`` is not UTF-8, not JSON, not an object, has duplicate
            names, holds too many values, nests too deep or is spelled in another way.
    """
    expected = "JSON in its canonical form (RFC 8785)"
    remedy = "Pass the file exactly as it was issued, not reformatted or edited."
    if data.count(b",") > COMMA_LIMIT:
        raise DocumentRefusedError(
            where, expected=f"at most {COMMA_LIMIT} values", found="more", remedy=remedy
        )
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        found = "nesting too deep" if isinstance(error, RecursionError) else str(error)
        raise DocumentRefusedError(where, expected=expected, found=found, remedy=remedy) from error
    if not isinstance(value, dict):
        raise DocumentRefusedError(
            where, expected="a JSON object", found=f"a {type(value).__name__}", remedy=remedy
        )
    if _depth(value) > JSON_DEPTH:
        raise DocumentRefusedError(
            where, expected=f"at most {JSON_DEPTH} levels", found="more", remedy=remedy
        )
    try:
        spelled = rfc8785.dumps(value)
    except ValueError as error:  # numbers beyond 2^53, lone surrogates
        raise DocumentRefusedError(
            where, expected=expected, found=str(error), remedy=remedy
        ) from error
    if spelled != data:
        raise DocumentRefusedError(
            where, expected=expected, found="another spelling of it", remedy=remedy
        )
    return value


def read_record(model: type[RecordT], data: bytes, *, where: str) -> RecordT:
    """Return a record from JSON bytes that :func:`parse_canonical` accepted.

    Raises:
        DocumentRefusedError: If the fields are not those of ``model``; names the first one.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join([where, *map(str, first["loc"])])
        raise DocumentRefusedError(
            field,
            expected="a document of the published schema",
            found=first["msg"],
            remedy="Check the version that issued it; a newer one may need a newer verifier.",
        ) from error


def decode_base64(text: str, *, where: str) -> bytes:
    """Return the bytes of standard, padded base64 in its only spelling.

    Raises:
        DocumentRefusedError: If ``text`` is no base64 or encodes back to another text.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise DocumentRefusedError(
            where,
            expected="standard base64 with padding",
            found=str(error),
            remedy="Pass the file exactly as it was issued.",
        ) from error
    if base64.b64encode(data).decode("ascii") != text:
        raise DocumentRefusedError(
            where,
            expected="base64 that encodes back to the same text",
            found="unused bits that are not zero",
            remedy="Pass the file exactly as it was issued.",
        )
    return data
