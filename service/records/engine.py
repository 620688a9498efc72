"""The database: one writer thread, many readers, SQLite or PostgreSQL.

SQLite takes one writer at a time; several threads that fight for its lock reach a tenth of the
rate of one thread that owns it. Every write transaction therefore runs on one thread and begins
IMMEDIATE: a transaction that read first and writes later could not be retried by SQLite.
PostgreSQL has a writer thread of each front end; their transactions are SERIALIZABLE and run again
when the database says that they met, so that code here may think that nobody else writes.
"""

import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any, TypeVar, final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from auditor.checks import needs_extra
from auditor.errors import UnavailableError

SQLITE, POSTGRESQL = "sqlite", "postgresql"

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=5000",
    "foreign_keys=ON",
)
_CONNECT: Mapping[str, object] = {
    "application_name": "stageaudit",
    "connect_timeout": 3,
    # A server that vanished without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # A front end that hangs inside a transaction does not stop the others.
    "options": "-c idle_in_transaction_session_timeout=60000 -c lock_timeout=10000",
}
_TRIES = 30
_LONGEST_WAIT_SECONDS = 0.1
_MET_ANOTHER = frozenset({
    "40001",  # could not serialize access
    "40P01",  # deadlock
    "23505",  # a row of this name came meanwhile: the next try finds it
})
_AWAY = frozenset({
    "25006",  # demoted to a standby
    "57P05",  # was idle in a transaction for too long
})

Result = TypeVar("Result")


class Isolation(Enum):
    """What a write transaction may assume about those of other front ends.

    ``SERIAL``: there are none. ``ROWS``: it locks the rows that it decides about, and other rows
    may change under it; such transactions neither wait for one another nor run again.
    """

    SERIAL = "SERIALIZABLE"
    ROWS = "READ COMMITTED"


def open_engine(where: Path | str) -> Engine:
    """Return an engine for a database.

    Args:
        where: A SQLite file, made when it does not exist, or ``postgresql+psycopg://...``.

    Raises:
        PreconditionError: If the driver of PostgreSQL is not installed.
    """
    return _open_sqlite(where) if isinstance(where, Path) else _open_postgresql(where)


def _open_sqlite(path: Path) -> Engine:
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


def _open_postgresql(url: str) -> Engine:
    with needs_extra("postgres", purpose="Records in PostgreSQL"):
        return create_engine(
            url, pool_size=8, pool_timeout=10, pool_pre_ping=True, connect_args=dict(_CONNECT)
        )


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
        self._closing = threading.Event()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")

    @property
    def shared(self) -> bool:
        """Whether other front ends may use the database at the same time."""
        return self._engine.dialect.name == POSTGRESQL

    def write(
        self,
        operation: str,
        work: Callable[[Connection], Result],
        *,
        isolation: Isolation = Isolation.SERIAL,
    ) -> Result:
        """Run ``work`` in a write transaction that commits when it returns and wait for it.

        ``work`` runs again from its beginning when its transaction met another one, so it changes
        nothing outside the database.

        Raises:
            UnavailableError: If the database cannot be written.
        """
        options: dict[str, Any] = {"write": True}
        if self.shared:
            options["isolation_level"] = isolation.value
        return self._writer.submit(self._write, operation, work, options).result()

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run ``work`` on one consistent snapshot, in the calling thread.

        Raises:
            UnavailableError: If the database cannot be read.
        """
        options: dict[str, Any] = {}
        if self.shared:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        try:
            return self._run(work, options)
        except (DBAPIError, PoolTimeoutError) as error:
            raise _told(error) from error

    def close(self) -> None:
        """Finish the writes under way, fold the write-ahead log of SQLite into its file, close."""
        self._closing.set()
        self._writer.shutdown(wait=True)
        if not self.shared:
            with self._engine.connect() as connection:
                raw = connection.connection.driver_connection
                if raw is not None:
                    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    def _write(
        self, operation: str, work: Callable[[Connection], Result], options: Mapping[str, Any]
    ) -> Result:
        started = self._monotonic()
        try:
            for number in range(1, _TRIES):
                with suppress(_MetAnotherError):
                    return self._try(work, options)
                # Two that met once should not meet again at once.
                longest = min(_LONGEST_WAIT_SECONDS, 0.005 * number)
                self._closing.wait(random.uniform(0.0, longest))  # noqa: S311 - no secret
            return self._run(work, options)
        except (DBAPIError, PoolTimeoutError) as error:
            raise _told(error) from error
        finally:
            self._observe_seconds(operation, self._monotonic() - started)

    def _try(self, work: Callable[[Connection], Result], options: Mapping[str, Any]) -> Result:
        try:
            return self._run(work, options)
        except DBAPIError as error:
            if self.shared and _state(error) in _MET_ANOTHER:
                raise _MetAnotherError from error
            raise

    def _run(self, work: Callable[[Connection], Result], options: Mapping[str, Any]) -> Result:
        with (
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            return work(connection)


class _MetAnotherError(Exception):
    """The transaction changed nothing and is to run again."""


def unavailable(error: DBAPIError | PoolTimeoutError) -> UnavailableError | None:
    """Return what to raise when the database is away; None if it is there and refuses."""
    if isinstance(error, DBAPIError):
        away = error.connection_invalidated or _state(error) in _AWAY
        kind = type(error.orig).__name__ if error.orig is not None else type(error).__name__
        if not (away or isinstance(error, OperationalError)):
            return None
    else:
        kind = type(error).__name__
    return UnavailableError(
        "database",
        expected="a readable and writable database",
        found=kind,
        remedy="Check that the database runs, or free space and permissions of the data folder; "
        "the log has the details.",
    )


def _told(error: DBAPIError | PoolTimeoutError) -> Exception:
    return unavailable(error) or error


def _state(error: DBAPIError) -> str:
    """Return the SQLSTATE that PostgreSQL gave, or nothing."""
    return str(getattr(error.orig, "sqlstate", None) or "")
