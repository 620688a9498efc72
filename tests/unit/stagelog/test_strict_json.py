"""JSON from strangers: bounded, unambiguous, never another error than ours."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuditorError, StageLogError
from auditor.stagelog.digest import canonical_bytes
from auditor.stagelog.strict_json import MAX_BYTES, MAX_DEPTH, field_path, load_object
from auditor.stagelog.validate import parse_manifest
from tests.support.manifests import make_log

MANIFEST = canonical_bytes(make_log())
BAD_INPUTS = {
    "empty": b"",
    "no_utf8": b'{"a": "\xff"}',
    "no_object": b"[1]",
    "number": b"1",
    "cut_off": MANIFEST[:-1],
    "trailing_text": MANIFEST + b"x",
    "duplicate_key": b'{"a": 1, "a": 1}',
    "duplicate_key_inside": b'{"a": [{"b": 1, "c": 2, "b": 3}]}',
    "duplicate_key_escaped": b'{"a": 1, "\\u0061": 2}',
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "long_integer": b'{"a": ' + b"1" * 5000 + b"}",
    "deep_lists": b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "bottomless": b'{"a": ' + b"[" * 200_000,
    "too_long": b" " * (MAX_BYTES + 1),
}


@pytest.mark.parametrize("data", BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input_is_refused(data: bytes) -> None:
    with pytest.raises(StageLogError):
        load_object(data, where="file")


def nested(depth: int) -> bytes:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return json.dumps(value).encode()


def test_depth_is_allowed_up_to_its_limit() -> None:
    assert load_object(nested(MAX_DEPTH), where="file")
    with pytest.raises(StageLogError, match="nesting"):
        load_object(nested(MAX_DEPTH + 1), where="file")


def test_duplicate_key_is_named() -> None:
    with pytest.raises(StageLogError, match="'steps' twice"):
        load_object(b'{"steps": 1, "steps": 2}', where="file")


@pytest.mark.parametrize("text", [b"1e999", b"-1e999", b'"\\ud800"'])
def test_values_that_canonical_json_lacks_are_refused(text: bytes) -> None:
    data = MANIFEST.replace(b'"recorder":"test"', b'"recorder":' + text)
    assert data != MANIFEST

    with pytest.raises(StageLogError):
        parse_manifest(data)


@given(st.binary(max_size=200))
def test_noise_gives_our_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(AuditorError):
        parse_manifest(data)


@given(position=st.integers(0, len(MANIFEST) - 1), byte=st.integers(0, 255))
def test_changed_byte_gives_a_log_or_our_error(position: int, byte: int) -> None:
    data = MANIFEST[:position] + bytes([byte]) + MANIFEST[position + 1 :]

    try:
        log = parse_manifest(data)
    except AuditorError:
        return
    assert canonical_bytes(log)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (("stages", 2, "first_step"), "stages[2].first_step"),
        (("parameters", "fc.weight", "shape"), 'parameters["fc.weight"].shape'),
        (("labels", "x", "[key]"), "labels.x"),
        ((), ""),
    ],
)
def test_field_path_reads_like_the_manifest(location: tuple[str | int, ...], path: str) -> None:
    assert field_path(location) == path
