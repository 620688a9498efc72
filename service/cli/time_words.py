"""Lengths of time as people say them."""

import re
from collections.abc import Mapping
from typing import Any

from auditor.errors import InputError

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"([1-9][0-9]{0,7})(s|min|h|d)")
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def duration(seconds: float) -> str:
    """Return a length of time in one unit, rounded: ``8 s``, ``3 min``, ``1.5 h``."""
    for size, unit in _UNITS:
        if seconds >= 1.5 * size:
            amount = seconds / size
            return f"{amount:.0f} {unit}" if amount >= 3 else f"{amount:.1f} {unit}"
    return f"{seconds:.0f} s"


def seconds_of(text: str, *, where: str) -> int:
    """Return a length of time, such as ``30min``, ``1h`` or ``1d``, in seconds.

    Raises:
        InputError: If it is none, or 0.
    """
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise InputError(
            where,
            expected="a whole number above 0 and its unit: s, min, h or d",
            found=text,
            remedy="Write it like 30min or 1h.",
        )
    return int(found[1]) * _SECONDS[found[2]]


def time_left(seconds: float, *, bound: str = "about") -> str:
    """Return how long it will still take; ``bound`` is *about* or *at least*."""
    return f"{bound} {duration(seconds)} left"


def bound_of(progress: Mapping[str, Any]) -> str:
    """Return whether the time left of an audit's progress is an estimate or only a least time."""
    return "at least" if progress.get("seconds_left_at_least") else "about"
