import json

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuditorError, InputError, ResourceError, UnsupportedError
from auditor.model.limits import ImportLimits
from auditor.model.safetensors_header import read_header
from auditor.model.tensors import DTYPES, read_tensors, write_tensors

BASE = torch.arange(12.0).reshape(3, 4)
TENSORS = {
    "plain": BASE,
    "transposed": BASE.T,
    "row": BASE[1],
    "expanded": torch.ones(1).expand(5),
    "scalar": torch.tensor(3, dtype=torch.int64),
    "flag": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "brain": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "same storage": BASE,
}
FILE = write_tensors({"b": torch.arange(6, dtype=torch.float32).reshape(2, 3), "a": torch.ones(2)})


def file_of(header: object, *, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_write_then_read_is_the_identity() -> None:
    found = read_tensors(write_tensors(TENSORS), where="test")

    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert all(found[name].dtype == tensor.dtype for name, tensor in TENSORS.items())


def test_the_library_reads_what_we_write_and_we_what_it_writes() -> None:
    plain = {"w": torch.randn(2, 3), "n": torch.tensor([1, 2])}

    assert safetensors.torch.save(plain) == write_tensors(plain)
    torch.testing.assert_close(safetensors.torch.load(write_tensors(plain)), plain)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_every_dtype_survives(dtype: torch.dtype) -> None:
    tensor = torch.tensor([0, 1, 1]).to(dtype)

    assert torch.equal(read_tensors(write_tensors({"x": tensor}), where="test")["x"], tensor)


def test_order_of_names_does_not_change_the_bytes() -> None:
    backwards = dict(reversed(TENSORS.items()))

    assert write_tensors(backwards) == write_tensors(TENSORS)


def test_no_tensors_are_a_valid_file() -> None:
    assert read_tensors(write_tensors({}), where="test") == {}


def test_tensors_do_not_depend_on_the_file() -> None:
    data = bytearray(FILE)

    found = read_tensors(memoryview(data).toreadonly(), where="test")
    data[-24:] = bytes(24)

    assert found["b"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="complex64"):
        write_tensors({"z": torch.zeros(1, dtype=torch.complex64)})


@given(position=st.integers(0, len(FILE) - 1), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_read_as_the_library_reads_it(
    position: int, value: int
) -> None:
    data = FILE[:position] + bytes([value]) + FILE[position + 1 :]

    try:
        found = read_tensors(data, where="test")
    except AuditorError:
        return

    expected = safetensors.torch.load(data)
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == expected[name].dtype for name in expected)
    assert all(found[name].shape == expected[name].shape for name in expected)
    assert write_tensors(found) == write_tensors(expected)


@given(length=st.integers(0, len(FILE) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(InputError):
        read_tensors(FILE[:length], where="test")


@given(data=st.binary(max_size=64))
def test_any_bytes_are_refused_with_a_typed_error(data: bytes) -> None:
    with pytest.raises(AuditorError):
        read_tensors(file_of(b"{" + data), where="test")


MALFORMED = {
    "empty": b"",
    "too short": b"\x02\x00",
    "trailing byte": FILE + b"\x00",
    "leading space": file_of(b" {}"),
    "array": file_of(b"[]"),
    "not utf-8": file_of(b'{"\xff": 1}'),
    "nan": file_of(b'{"a": NaN}'),
    "digits": file_of(b'{"a": ' + b"1" * 5000 + b"}"),
    "depth": file_of(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "duplicate name": file_of(
        b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
        b'"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    ),
    "duplicate field": file_of(
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    ),
    "duplicate metadata": file_of(b'{"__metadata__":{"k":"1","k":"2"}}'),
    "metadata number": file_of({"__metadata__": {"k": 1}}),
    "empty name": file_of({"": entry()}, data=bytes(8)),
    "zero in name": file_of({"a\x00b": entry()}, data=bytes(8)),
    "overlap": file_of({"a": entry(), "b": entry(offsets=(4, 12))}, data=bytes(12)),
    "hole": file_of({"a": entry(), "b": entry(offsets=(12, 20))}, data=bytes(20)),
    "backwards": file_of({"a": entry(offsets=(8, 0))}, data=bytes(8)),
    "beyond the end": file_of({"a": entry()}, data=bytes(4)),
    "wrong size": file_of({"a": entry(shape=(3,))}, data=bytes(8)),
    "overflow": file_of({"a": entry(shape=(2**32, 2**33))}, data=bytes(8)),
    "negative axis": file_of({"a": entry(shape=(-1, -2))}, data=bytes(8)),
    "boolean axis": file_of({"a": entry(shape=(True, 2))}, data=bytes(8)),
    "fractional axis": file_of({"a": entry(shape=(2.0,))}, data=bytes(8)),
    "too many axes": file_of({"a": entry(shape=(1,) * 8 + (2,))}, data=bytes(8)),
    "three offsets": file_of({"a": entry(offsets=(0, 4, 8))}, data=bytes(8)),
    "missing field": file_of({"a": {"dtype": "F32", "shape": [2]}}, data=bytes(8)),
    "extra field": file_of({"a": entry() | {"x": 1}}, data=bytes(8)),
    "not an object": file_of({"a": 1}),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_file_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_header(data, where="test")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "U64", "C64", 3, None])
def test_dtype_that_is_not_accepted_is_named(dtype: object) -> None:
    with pytest.raises(UnsupportedError, match="dtype"):
        read_header(file_of({"a": entry(dtype=dtype)}, data=bytes(8)), where="test")


def test_long_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(ResourceError, match="header"):
        read_header((2**62).to_bytes(8, "little"), where="test")


def test_too_many_tensors_are_refused() -> None:
    with pytest.raises(ResourceError, match="at most 1 tensors"):
        read_header(FILE, where="test", limits=ImportLimits(initializers=1))
