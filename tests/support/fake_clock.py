"""A Clock that moves only when a test says so."""

from datetime import UTC, datetime, timedelta
from typing import final


@final
class FakeClock:
    """Starts at a fixed moment; :meth:`advance` moves both of its readings."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def seconds(self) -> float:
        """Return :meth:`now` as seconds since 1970."""
        return self._now.timestamp()

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
