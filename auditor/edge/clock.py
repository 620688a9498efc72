"""Time as a value that is passed in."""

import time
from datetime import UTC, datetime
from typing import Protocol, final


class Clock(Protocol):
    """What the project may know about time."""

    def now(self) -> datetime:
        """Return the present as an aware datetime in UTC."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""


@final
class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present as an aware datetime in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()
