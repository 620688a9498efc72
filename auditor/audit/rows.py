"""What was found for the questions of one row, as one: a probe is a paired difference."""

from typing import Protocol, Self, TypeVar


class _Paired(Protocol):
    def minus(self, other: Self, /) -> Self:
        """Return the paired difference."""


_PairedT = TypeVar("_PairedT", bound=_Paired)


def paired(of_questions: list[_PairedT]) -> _PairedT:
    """Return what was found for a row: for a probe, treated minus control."""
    return of_questions[0] if len(of_questions) == 1 else of_questions[0].minus(of_questions[1])
