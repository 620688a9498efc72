"""Only one spelling of a document is read."""

import pytest
import rfc8785
from hypothesis import given
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
