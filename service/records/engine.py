"""The database: one writer thread, many readers.

SQLite takes one writer at a time; several threads that fight for its lock reach a tenth of the
rate of one thread that owns it. Every write transaction therefore runs on one thread and begins
IMMEDIATE: a transaction that read first and writes later could not be retried by SQLite.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import TypeVar, final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from auditor.errors import UnavailableError

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=5000",
    "foreign_keys=ON",
)

Result = TypeVar("Result")


def open_engine(path: Path) -> Engine:
    """Return an engine for the SQLite file at ``path``, made when it does not exist."""
    engine = create_engine(
        f"sqlite:///{path}", pool_size=8, connect_args={"check_same_thread": False}
    )

    def set_pragmas(connection: SqliteConnection, _: object) -> None:
        # Without implicit BEGIN of the driver: transactions begin where the listener below says.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", set_pragmas)
    event.listen(engine, "begin", begin)
    return engine


@final
class Database:
    """Runs functions inside transactions.

    Args:
        engine: From :func:`open_engine`.
        observe_seconds: Called with an operation's name and how long its write took.
        monotonic: Seconds on a clock that never goes back.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        observe_seconds: Callable[[str, float], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._observe_seconds = observe_seconds
        self._monotonic = monotonic
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")

    def write(self, operation: str, work: Callable[[Connection], Result]) -> Result:
        """Run ``work`` in a write transaction that commits when it returns and wait for it.

        Raises:
            UnavailableError: If the database cannot be written.
        """
        return self._writer.submit(self._write, operation, work).result()

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run ``work`` on one consistent snapshot, in the calling thread.

        Raises:
            UnavailableError: If the database cannot be read.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                return work(connection)
        except OperationalError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Finish the writes under way, fold the write-ahead log into the file, close."""
        self._writer.shutdown(wait=True)
        with self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            if raw is not None:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    def _write(self, operation: str, work: Callable[[Connection], Result]) -> Result:
        started = self._monotonic()
        try:
            with (
                self._engine.connect().execution_options(write=True) as connection,
                connection.begin(),
            ):
                return work(connection)
        except OperationalError as error:
            raise _unavailable(error) from error
        finally:
            self._observe_seconds(operation, self._monotonic() - started)


def _unavailable(error: OperationalError) -> UnavailableError:
    return UnavailableError(
        "database",
        expected="a readable and writable database",
        found=type(error.orig).__name__ if error.orig is not None else type(error).__name__,
        remedy="Check free space and permissions of the data folder; the log has the details.",
    )
