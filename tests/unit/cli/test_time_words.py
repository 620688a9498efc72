"""Lengths of time that people write."""

import pytest

from auditor.errors import InputError
from service.cli.time_words import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30min", 1800), ("1h", 3600), ("2d", 172_800)]
)
def test_length_is_read_with_its_unit(text: str, seconds: int) -> None:
    assert seconds_of(text, where="--for") == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "-1h", "1.5h", "1 h", "1w", "999999999d"])
def test_length_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match="--for"):
        seconds_of(text, where="--for")
