"""Bytes to values, strictly: one document has one spelling, and only that one is read.

Signed documents are parsed here and nowhere else. JSON must be UTF-8 in its RFC 8785 form and
base64 must be in its only padded form, so that two byte strings never mean the same document.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from operator import lt
from typing import Any, NoReturn, TypeVar

import rfc8785
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from auditor.errors import DocumentRefusedError
from auditor.stagelog.strict_json import first_problem

JSON_DEPTH = 32
COMMA_LIMIT = 2**20  # a bound on the number of values, checked before anything is built of them

_OTHER_SPELLING = "another spelling of it"
# A string as RFC 8785 writes it: whatever has a shorter escape, or needs none, matches nowhere, and
# its first quote stays in the text that is left. Possessive, so that no text takes long.
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f])))*+"')
_SPACE_OR_QUOTE = (" ", "\n", "\r", "\t", '"')
_NUMBER = re.compile(r"-?[0-9][-+.0-9eE]*+")
_LONG = 16  # digits of a whole number that may lie beyond 2^53
_PLAIN_BELOW = ("e-5", "e-6")  # ECMAScript has no exponent here, others have
_BRACKET = re.compile(r"[\[\]{}]")

RecordT = TypeVar("RecordT", bound=BaseModel)


def _object_reader() -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Return what builds objects and checks their names, once for all objects with the same."""
    checked: set[tuple[str, ...]] = {()}

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = tuple([name for name, _ in pairs])
        if names not in checked:
            _require_ordered(names)
            checked.add(names)
        return dict(pairs)

    return read


def _require_ordered(names: tuple[str, ...]) -> None:
    """Refuse a name that occurs twice, of which readers differ on which counts, or another order.

    Raises:
        ValueError: If there is one.
    """
    if all(map(lt, names, names[1:])) and "".join(names).isascii():
        return
    units = [name.encode("utf-16-be", "surrogatepass") for name in names]  # not by code points
    if len(set(units)) != len(units):
        raise ValueError("an object has two members of one name")
    if units != sorted(units):
        raise ValueError(_OTHER_SPELLING)


def _require_spelled_numbers(skeleton: str) -> None:
    """Refuse numbers that ECMAScript writes in another way, or that readers would round.

    Args:
        skeleton: A JSON text without its strings.

    Raises:
        ValueError: If there is one.
    """
    texts = _NUMBER.findall(skeleton)
    numbers = list(map(float, texts))
    # pydantic writes the fewest digits, as ECMAScript does, and the same text but for exponents and
    # whole numbers; where it does not, rfc8785 decides.
    written = to_json(numbers).decode()[1:-1].split(",") if numbers else []
    odd: set[str] = set()
    for text, fast in zip(texts, written, strict=True):
        if text == fast and text[-2:] != ".0":
            same = "e" not in text or ("e-" in text and text[-3:] not in _PLAIN_BELOW)
        else:  # a whole number of few digits; with leading zeros it would be no JSON
            same = len(text) < _LONG and text.isdigit()
        if not same:
            odd.add(text)
    for text in odd:
        number = int(text) if text.lstrip("-").isdigit() else float(text)
        if rfc8785.dumps(number).decode() != text:
            raise ValueError(_OTHER_SPELLING)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _depth(skeleton: str) -> int:
    """Nesting depth of a document without its strings."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(skeleton):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest + 1  # the values in the innermost container are a level too


def parse_canonical(data: bytes, *, where: str) -> dict[str, Any]:
    """Return a JSON object whose RFC 8785 bytes are exactly ``data``.

    Encoding what was read again and comparing would say the same, at several times the cost. Here
    the spelling is checked while reading: strings with the fewest escapes and no space between them
    (by the text without its strings), names in order, numbers as ECMAScript writes them.

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
        text = data.decode("utf-8")
        skeleton = _STRING.sub("", text)
        if _depth(skeleton) > JSON_DEPTH:
            raise DocumentRefusedError(
                where, expected=f"at most {JSON_DEPTH} levels", found="more", remedy=remedy
            )
        value = json.loads(
            text,
            object_pairs_hook=_object_reader(),
            parse_constant=_refuse_constant,
        )
        _require_spelled_numbers(skeleton)
    except (ValueError, RecursionError) as error:
        found = "nesting too deep" if isinstance(error, RecursionError) else str(error)
        raise DocumentRefusedError(where, expected=expected, found=found, remedy=remedy) from error
    if any(character in skeleton for character in _SPACE_OR_QUOTE):
        raise DocumentRefusedError(where, expected=expected, found=_OTHER_SPELLING, remedy=remedy)
    if not isinstance(value, dict):
        raise DocumentRefusedError(
            where, expected="a JSON object", found=f"a {type(value).__name__}", remedy=remedy
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
        field, problem = first_problem(error, where=where)
        raise DocumentRefusedError(
            field,
            expected="a document of the published schema",
            found=problem,
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
