"""Telling the caller how far a computation is, often enough and not too often."""

from collections.abc import Callable
from typing import final

BLOCK_STEPS = 32
"""Steps between two reports of progress and two checks that the numbers are finite."""

OnBlock = Callable[[int, int], None]
"""Called with (steps done, steps in all), counted over all lanes; may raise to stop."""


@final
class Progress:
    """Reports when at least ``BLOCK_STEPS`` steps were done since the last report, and at the end.

    Args:
        total: Steps in all.
        on_block: Whom to tell.
    """

    def __init__(self, *, total: int, on_block: OnBlock) -> None:
        self._total, self._on_block = total, on_block
        self._done = self._told = 0

    def add(self, steps: int) -> None:
        """Count steps as done."""
        self._done += steps
        if self._done - self._told >= BLOCK_STEPS:
            self._tell()

    def finish(self) -> None:
        """Report the end, if it was not."""
        if self._told < self._done or self._total == 0:
            self._tell()

    def _tell(self) -> None:
        self._told = self._done
        self._on_block(self._done, self._total)
