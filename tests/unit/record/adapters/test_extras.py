"""A missing library is named with the extra that brings it."""

import importlib

import pytest

from auditor.errors import PreconditionError
from auditor.record.adapters.extras import naming_extra


def test_missing_library_names_its_extra() -> None:
    with (
        pytest.raises(PreconditionError, match=r"stageaudit\[lightning\]"),
        naming_extra("lightning"),
    ):
        importlib.import_module("a_library_that_nobody_has")


def test_other_failures_are_the_librarys_own() -> None:
    with pytest.raises(ZeroDivisionError), naming_extra("lightning"):
        raise ZeroDivisionError
