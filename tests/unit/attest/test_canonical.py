"""Only one spelling of a document is read."""

import json
import math

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.attest.canonical import COMMA_LIMIT, JSON_DEPTH, decode_base64, parse_canonical
from auditor.errors import DocumentRefusedError

BAD_JSON = {
    "empty": b"",
    "duplicate_member": b'{"a":1,"a":2}',
    "duplicate_member_inside": b'{"a":[{"b":1,"b":1}]}',
    "space": b'{"a": 1}',
    "trailing_newline": b'{"a":1}\n',
    "unsorted": b'{"b":1,"a":2}',
    "escaped_slash": rb'{"a":"\/"}',
    "escaped_letter": rb'{"a":"\u0061"}',
    "one_point_zero": b'{"a":1.0}',
    "exponent": b'{"a":1e2}',
    "minus_zero": b'{"a":-0}',
    "nan": b'{"a":NaN}',
    "infinity": b'{"a":Infinity}',
    "beyond_2_53": b'{"a":9007199254740992}',
    "many_digits": b'{"a":' + b"9" * 5000 + b"}",
    "lone_surrogate": rb'{"a":"\ud800"}',
    "byte_order_mark": b'\xef\xbb\xbf{"a":1}',
    "utf_16": '{"a":1}'.encode("utf-16"),
    "not_utf_8": b'{"a":"\xff"}',
    "array": b"[1]",
    "null": b"null",
    "cut": b'{"a":1',
    "trailing": b'{"a":1}{}',
    "too_deep": b'{"a":' + b"[" * JSON_DEPTH + b"]" * JSON_DEPTH + b"}",
    "too_many_values": b'{"a":[' + b"1," * (COMMA_LIMIT + 1) + b"1]}",
    "far_too_deep": b'{"a":' + b"[" * 200_000,
}
BAD_BASE64 = {
    "no_padding": "YQ",
    "unused_bits": "YR==",
    "url_safe_alphabet": "-_-_",
    "line_break": "YWFh\nYWFh",
    "not_ascii": "YWä=",
    "too_much_padding": "YWFh====",
}


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_parse_canonical_refuses_other_spellings(data: bytes) -> None:
    with pytest.raises(DocumentRefusedError, match=r"^thing: expected"):
        parse_canonical(data, where="thing")


def test_parse_canonical_names_a_duplicate_member() -> None:
    with pytest.raises(DocumentRefusedError, match="two members of one name"):
        parse_canonical(BAD_JSON["duplicate_member_inside"], where="thing")


def test_parse_canonical_counts_values_before_it_builds_them() -> None:
    with pytest.raises(DocumentRefusedError, match=f"at most {COMMA_LIMIT} values"):
        parse_canonical(BAD_JSON["too_many_values"], where="thing")


def test_parse_canonical_accepts_the_deepest_allowed() -> None:
    data = b'{"a":' + b"[" * (JSON_DEPTH - 2) + b"1" + b"]" * (JSON_DEPTH - 2) + b"}"

    assert list(parse_canonical(data, where="thing")) == ["a"]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | st.floats(min_value=-(2.0**52), max_value=2.0**52)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4))
def test_parse_canonical_inverts_canonical_bytes(value: dict[str, object]) -> None:
    assert parse_canonical(rfc8785.dumps(value), where="thing") == value


RFC_8785_NUMBERS = (
    "0", "5e-324", "1.7976931348623157e+308", "-1.7976931348623157e+308", "1e-7", "0.000001",
    "0.00009999", "1.5e-7", "-1e-300", "1e-10", "1.5e+300", "333333333.3333333", "1e+21",
    "9007199254740991", "-0.1", "1e-27", "4.5",
)  # fmt: skip
OTHER_NUMBERS = (
    "1.0", "1e0", "1E-7", "1e-07", "0.0000001", "1e21", "0.10", "-0", "-0.0", "1e400", "1e+16",
    "1.5e+20", "1e-5", "1.5e-6", "100000000000000000000", "9007199254740992", "-9007199254740992",
    "0.1e1", "1.50", "1e-400", "0.000010", "123456789.12345678901",
)  # fmt: skip


@pytest.mark.parametrize("number", RFC_8785_NUMBERS)
def test_numbers_are_read_as_ecmascript_writes_them(number: str) -> None:
    data = f'{{"a":{number}}}'.encode()

    assert rfc8785.dumps(parse_canonical(data, where="thing")) == data


@pytest.mark.parametrize("number", OTHER_NUMBERS)
def test_numbers_in_another_spelling_are_refused(number: str) -> None:
    with pytest.raises(DocumentRefusedError, match=r"another spelling|safe integer domain|inf"):
        parse_canonical(f'{{"a":{number}}}'.encode(), where="thing")


@settings(max_examples=500)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-3, 3))
def test_every_number_has_one_spelling(number: float, steps: int) -> None:
    for _ in range(abs(steps)):  # neighbours of round numbers, which hypothesis likes
        number = math.nextafter(number, math.inf if steps > 0 else -math.inf)
    spellings = {repr(number), f"{number:.17g}", f"{number:.16e}", f"{number:.15g}", f"{number:g}"}
    spellings.add(rfc8785.dumps(number).decode() if math.isfinite(number) else "1e999")

    for text in spellings:
        data = f'{{"a":{text}}}'.encode()
        try:
            parse_canonical(data, where="thing")
        except DocumentRefusedError:
            assert not accepted_by_rfc8785(data)
        else:
            assert accepted_by_rfc8785(data)


def test_names_are_in_the_order_of_utf_16() -> None:
    names = ["\U0001f600", "\ufb33", "a", "\u20ac"]
    data = rfc8785.dumps(dict.fromkeys(names))

    assert sorted(names) != list(parse_canonical(data, where="thing"))
    with pytest.raises(DocumentRefusedError, match="another spelling"):
        parse_canonical(json.dumps(dict.fromkeys(sorted(names)), ensure_ascii=False,
                                   separators=(",", ":")).encode(), where="thing")  # fmt: skip


# Fragments that spellings are made of: random bytes would hardly ever be JSON.
FRAGMENTS = (
    "{", "}", "[", "]", ",", ":", '"', '"a"', '"b"', "1", "1.5", "1e-7", "1.0", "-0", "null", " ",
    "\n", "\\n", "\\/", "\\u001f", "\\u000a", "\\u0041", "\\u00e4", "\\ud800", "\\b",
    "ä", "\x7f", "\u2028",
    '"":', '"\\"":', '{"a":', "9007199254740993", "true", "\\", "\t", "\x00",
)  # fmt: skip


def accepted_by_rfc8785(data: bytes) -> bool:
    """Say what the form is, the slow way: read, write again, compare."""
    try:
        value = json.loads(data, parse_constant=float, object_pairs_hook=once)
        return isinstance(value, dict) and rfc8785.dumps(value) == data
    except ValueError:
        return False


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


@settings(max_examples=800)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.booleans())
def test_spelling_is_accepted_exactly_when_rfc8785_writes_it(
    parts: list[str], wrapped: bool
) -> None:
    text = "".join(parts)
    data = (f'{{"a":"{text}"}}' if wrapped else text).encode()

    try:
        parse_canonical(data, where="thing")
    except DocumentRefusedError:
        assert not accepted_by_rfc8785(data)
    else:
        assert accepted_by_rfc8785(data)


@settings(max_examples=500)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4), st.data())
def test_one_change_of_a_document_is_accepted_exactly_when_rfc8785_writes_it(
    value: dict[str, object], data: st.DataObject
) -> None:
    text = bytearray(rfc8785.dumps(value))
    place = data.draw(st.integers(0, len(text)))
    text[place : place + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([part.encode() for part in FRAGMENTS])
    )

    try:
        parse_canonical(bytes(text), where="thing")
    except DocumentRefusedError:
        assert not accepted_by_rfc8785(bytes(text))
    else:
        assert accepted_by_rfc8785(bytes(text))


@given(st.binary(max_size=64))
def test_parse_canonical_raises_nothing_else(data: bytes) -> None:
    try:
        value = parse_canonical(data, where="thing")
    except DocumentRefusedError:
        return
    assert rfc8785.dumps(value) == data


@pytest.mark.parametrize("text", BAD_BASE64.values(), ids=BAD_BASE64.keys())
def test_decode_base64_refuses_other_spellings(text: str) -> None:
    with pytest.raises(DocumentRefusedError, match=r"^thing: expected"):
        decode_base64(text, where="thing")


def test_decode_base64_returns_the_bytes() -> None:
    assert decode_base64("YQ==", where="thing") == b"a"
