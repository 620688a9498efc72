"""Checks, one property each: numbers, anything with a shape, installed libraries; no torch."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from auditor.errors import DomainError, PreconditionError, ShapeError


class HasShape(Protocol):
    """Anything with a ``shape``: tensors and arrays."""

    @property
    def shape(self) -> Sequence[int]:
        """Sizes of the axes."""


def require_finite(where: str, value: float) -> None:
    """Refuse NaN and infinity.

    Raises:
        DomainError: If ``value`` is not finite.
    """
    if not math.isfinite(value):
        raise DomainError(
            where, expected="a finite number", found=value, remedy="Check the recorded value."
        )


def require_nonnegative(where: str, value: float) -> None:
    """Refuse negative and non-finite numbers.

    Raises:
        DomainError: If ``value`` is negative or not finite.
    """
    if not (math.isfinite(value) and value >= 0):
        raise DomainError(
            where, expected="a finite number >= 0", found=value, remedy="Check the recorded value."
        )


def require_in_unit_interval(where: str, value: float) -> None:
    """Refuse numbers outside [0, 1].

    Raises:
        DomainError: If ``value`` is not in [0, 1].
    """
    if not 0 <= value <= 1:
        raise DomainError(
            where, expected="a number from 0 to 1", found=value, remedy="Correct the value."
        )


def require_shape(where: str, value: HasShape, expected: Sequence[int]) -> None:
    """Refuse a value whose shape is not exactly ``expected``.

    Raises:
        ShapeError: If the shapes differ.
    """
    if tuple(value.shape) != tuple(expected):
        raise ShapeError(
            where,
            expected=f"shape {tuple(expected)}",
            found=f"shape {tuple(value.shape)}",
            remedy="Check which model or dataset this value belongs to.",
        )


def require_last_axis(where: str, value: HasShape, size: int) -> None:
    """Refuse a value whose last axis is not ``size`` long.

    Raises:
        ShapeError: If there is no last axis or it has another length.
    """
    if len(value.shape) == 0 or value.shape[-1] != size:
        raise ShapeError(
            where,
            expected=f"a last axis of {size}",
            found=f"shape {tuple(value.shape)}",
            remedy="Check which model this value belongs to.",
        )


@contextmanager
def needs_extra(extra: str, *, purpose: str) -> Iterator[None]:
    """Turn a missing library into the extra to install.

    Args:
        extra: Name of the extra that brings what is imported inside.
        purpose: What needs it, as the start of a sentence.

    Raises:
        PreconditionError: If something imported inside is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise PreconditionError(
            purpose,
            expected=f"the extra [{extra}]",
            found=f"no module {error.name}",
            remedy=f"Install it with `pip install 'stageaudit[{extra}]'`.",
        ) from error
