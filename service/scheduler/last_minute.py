"""Sums of what happened in the last minute, kept in cells of one second."""

from math import floor
from typing import final

CELLS = 60


@final
class LastMinute:
    """Amounts by label; memory is bounded by the labels of a minute, however much happens.

    Times are seconds on a clock that never goes back.
    """

    def __init__(self) -> None:
        self._cells: dict[int, dict[str, float]] = {}

    def add(self, label: str, amount: float, *, at: float) -> None:
        """Add an amount at a moment."""
        second = floor(at)
        if second not in self._cells:
            self._forget(at)
        cell = self._cells.setdefault(second, {})
        cell[label] = cell.get(label, 0.0) + amount

    def add_span(self, label: str, *, start: float, end: float, share: float = 1.0) -> None:
        """Add ``share`` for every second from ``start`` to ``end``."""
        for second in range(max(floor(start), floor(end) - CELLS), floor(end) + 1):
            length = min(end, second + 1) - max(start, second)
            if length > 0:
                self.add(label, share * length, at=second)

    def totals(self, now: float) -> dict[str, float]:
        """Return the sums of the last minute, as far as :meth:`begin` says."""
        self._forget(now)
        sums: dict[str, float] = {}
        for cell in self._cells.values():
            for label, amount in cell.items():
                sums[label] = sums.get(label, 0.0) + amount
        return sums

    @staticmethod
    def begin(now: float) -> float:
        """Return since when amounts count: the start of the oldest cell."""
        return floor(now) - CELLS + 1

    def _forget(self, now: float) -> None:
        oldest = self.begin(now)
        self._cells = {second: cell for second, cell in self._cells.items() if second >= oldest}
