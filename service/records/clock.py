"""The clock of a database, for hosts whose own clocks differ."""

from datetime import UTC, datetime, timedelta
from typing import final

from sqlalchemy import Connection, func, select

from auditor.edge.clock import Clock
from service.records.engine import Database


@final
class DatabaseClock:
    """Tells the time of ``clock_timestamp()`` in PostgreSQL, carried on by a monotonic clock.

    Leases of one host are judged by another, so all hosts read one clock. Their own wall clocks,
    which may differ and jump, are not used; a database that is away does not stop the time.

    Args:
        database: Whose clock it is.
        clock: Carries on between two measurements.

    Raises:
        UnavailableError: If the database cannot be asked.
    """

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._measured = (clock.now(), clock.monotonic())
        self.measure()

    def measure(self) -> None:
        """Ask the database; half of the round trip is taken for the way back.

        Raises:
            UnavailableError: If the database cannot be asked.
        """

        def ask(connection: Connection) -> tuple[datetime, float]:
            asked = self._clock.monotonic()
            moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return moment.astimezone(UTC), (asked + self._clock.monotonic()) / 2

        self._measured = self._database.read(ask)  # one assignment: read by other threads

    def now(self) -> datetime:
        """Return the present as an aware datetime in UTC."""
        moment, measured = self._measured
        return moment + timedelta(seconds=self._clock.monotonic() - measured)

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return self._clock.monotonic()
