"""What only a database of several front ends does: meets, retries, goes away, has a clock."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from auditor.edge.clock import SystemClock
from auditor.errors import UnavailableError
from service.records.clock import DatabaseClock
from service.records.engine import Database, Isolation, open_engine
from service.records.tables import tenant
from tests.support.fake_clock import FakeClock
from tests.support.postgres import PostgresServer


def open_database(url: str) -> Database:
    return Database(
        open_engine(url), observe_seconds=lambda _name, _seconds: None, monotonic=lambda: 0.0
    )


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.clean()


@pytest.fixture
def pair(url: str) -> Iterator[tuple[Database, Database]]:
    """Open one database twice, as two front ends do."""
    databases = open_database(url), open_database(url)
    yield databases
    for database in databases:
        database.close()


def add(connection: Connection, name: str, weight: float = 1.0) -> None:
    connection.execute(insert(tenant).values(id=name, weight=weight, created=0.0))


def total(connection: Connection) -> float:
    return connection.execute(select(func.sum(tenant.c.weight))).scalar_one() or 0.0


def test_transactions_that_decide_by_what_the_other_writes_run_one_after_the_other(
    pair: tuple[Database, Database],
) -> None:
    # Each adds a row only if there is none: without isolation both would.
    both_looked = threading.Barrier(2)
    tries = {"a": 0, "b": 0}

    def add_if_empty(connection: Connection, name: str) -> None:
        tries[name] += 1
        empty = total(connection) == 0
        if tries[name] == 1:
            both_looked.wait()
        if empty:
            add(connection, name)

    threads = [
        threading.Thread(target=database.write, args=("add", lambda c, n=name: add_if_empty(c, n)))
        for database, name in zip(pair, tries, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert pair[0].read(total) == 1.0
    assert sorted(tries.values()) == [1, 2]


def test_deadlocks_are_resolved_by_running_again(pair: tuple[Database, Database]) -> None:
    for name in "xy":
        pair[0].write("add", lambda connection, name=name: add(connection, name))
    both_hold_one = threading.Barrier(2)
    tries = [0, 0]

    def raise_weights(connection: Connection, number: int, names: str) -> None:
        tries[number] += 1
        for name in names:
            raised = update(tenant).where(tenant.c.id == name).values(weight=tenant.c.weight + 1)
            connection.execute(raised)
            if tries[number] == 1 and name == names[0]:
                both_hold_one.wait()

    threads = [
        threading.Thread(
            target=database.write,
            args=("raise", lambda c, i=number, n=names: raise_weights(c, i, n)),
            kwargs={"isolation": Isolation.ROWS},
        )
        for number, (database, names) in enumerate(zip(pair, ("xy", "yx"), strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert pair[0].read(total) == 6.0
    assert sum(tries) == 3


def test_a_row_that_breaks_a_rule_of_the_schema_is_an_error_after_some_tries(
    pair: tuple[Database, Database],
) -> None:
    pair[0].write("add", lambda connection: add(connection, "a"))

    with pytest.raises(IntegrityError):
        pair[1].write("add", lambda connection: add(connection, "a"))


def test_a_database_that_is_away_is_unavailable_until_it_is_back(
    postgres: PostgresServer, url: str
) -> None:
    database = open_database(url)
    database.write("add", lambda connection: add(connection, "a"))

    postgres.take_away(url)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            database.read(total)
        with pytest.raises(UnavailableError):
            database.write("add", lambda connection: add(connection, "b"))
    postgres.bring_back(url)

    database.write("add", lambda connection: add(connection, "c"))
    assert database.read(total) == 2.0
    database.close()


def test_connections_that_were_ended_are_made_again(postgres: PostgresServer, url: str) -> None:
    database = open_database(url)
    assert database.read(total) == 0.0

    postgres.end_connections(url)

    assert database.read(total) == 0.0
    database.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = open_database("postgresql+psycopg://postgres@/any?host=/nowhere")

    with pytest.raises(UnavailableError):
        database.read(total)

    database.close()


def test_a_database_that_takes_no_writes_is_unavailable(pair: tuple[Database, Database]) -> None:
    # As one whose server became a standby; reads never write, so they show it.
    with pytest.raises(UnavailableError, match="ReadOnlySqlTransaction"):
        pair[0].read(lambda connection: add(connection, "a"))


def test_the_clock_is_that_of_the_database(pair: tuple[Database, Database]) -> None:
    before = SystemClock().now()  # of the machine that the server runs on, too
    own = FakeClock()  # far in the past
    clock = DatabaseClock(pair[0], clock=own)
    first = clock.now()
    own.advance(5)

    assert before - timedelta(seconds=1) < first
    assert clock.now() - first == timedelta(seconds=5)
    assert clock.monotonic() == own.monotonic()


def test_the_clock_goes_on_while_the_database_is_away(postgres: PostgresServer, url: str) -> None:
    database, own = open_database(url), FakeClock()
    clock = DatabaseClock(database, clock=own)
    first = clock.now()
    postgres.take_away(url)

    with pytest.raises(UnavailableError):
        clock.measure()
    own.advance(5)

    assert clock.now() - first == timedelta(seconds=5)
    postgres.bring_back(url)
    database.close()


def test_a_front_end_that_hangs_in_a_transaction_is_ended(pair: tuple[Database, Database]) -> None:
    limit = pair[0].read(
        lambda c: c.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    )

    assert limit == "1min"
