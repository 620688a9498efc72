"""A missing library is named with the extra that brings it."""

import importlib

import pytest

from auditor.checks import needs_extra
from auditor.errors import PreconditionError


def test_missing_library_names_its_extra() -> None:
    with (
        pytest.raises(PreconditionError, match=r"stageaudit\[lightning\]"),
        needs_extra("lightning", purpose="recording with lightning"),
    ):
        importlib.import_module("a_library_that_nobody_has")


def test_other_failures_are_the_librarys_own() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        needs_extra("lightning", purpose="recording with lightning"),
    ):
        raise ZeroDivisionError
