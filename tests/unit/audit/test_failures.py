"""Errors as results: written, read again, and found by halving a group."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_arrays

from auditor.audit.failures import failure_blob, require_no_failure, results_or_failures
from auditor.errors import NumericalError
from auditor.model.tensors import read_tensors, write_tensors


def error(where: str = "stages[a].steps[0..31]") -> NumericalError:
    return NumericalError(where, expected="finite numbers", found="NaN", remedy="Change less – é.")


def compute(specs: Sequence[int]) -> list[bytes]:
    """Return every number as its result; odd ones diverge and take their group along."""
    odd = [spec for spec in specs if spec % 2]
    if odd:
        raise error(str(odd[0]))
    return [str(spec).encode() for spec in specs]


def test_an_error_is_raised_again_as_it_was_from_numpy_and_torch():
    blob = failure_blob(error())

    for arrays in (load_arrays(blob), read_tensors(blob, where="result")):
        with pytest.raises(NumericalError) as raised:
            require_no_failure(arrays)

        assert str(raised.value) == str(error())


def test_a_result_that_is_none_passes():
    require_no_failure(read_tensors(write_tensors({}), where="result"))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20))
def test_only_what_diverges_fails(specs):
    found = results_or_failures(specs, compute)

    assert [blob == str(spec).encode() for spec, blob in zip(specs, found, strict=True)] == [
        spec % 2 == 0 for spec in specs
    ]
    failed = [blob for spec, blob in zip(specs, found, strict=True) if spec % 2]
    assert failed == [failure_blob(error(str(spec))) for spec in specs if spec % 2]


def test_a_group_without_errors_is_computed_once():
    calls: list[int] = []

    def counted(specs: Sequence[int]) -> list[bytes]:
        calls.append(len(specs))
        return compute(specs)

    results_or_failures([2, 4, 6, 8], counted)

    assert calls == [4]
