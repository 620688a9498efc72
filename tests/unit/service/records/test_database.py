import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select, text

from auditor.errors import PreconditionError, UnavailableError
from service.records.engine import Database, open_engine
from service.records.migrate import migrate
from service.records.tables import metadata, tenant


@pytest.fixture
def database(records_at: Path | str) -> Iterator[Database]:
    opened = open_database(records_at)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_at(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Say where there is a database without a schema."""
    if request.param == "sqlite":
        return tmp_path / "records.sqlite"
    url: str = request.getfixturevalue("postgres").empty()
    return url


def open_database(where: Path | str) -> Database:
    engine = open_engine(where)
    migrate(engine)
    return Database(engine, observe_seconds=lambda _name, _seconds: None, monotonic=lambda: 0.0)


def add_tenant(database: Database, name: str) -> None:
    row = {"id": name, "weight": 1.0, "created": 0.0}
    database.write("add", lambda connection: connection.execute(insert(tenant), row))


def in_threads(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def tenants(database: Database) -> list[str]:
    return database.read(lambda c: list(c.scalars(select(tenant.c.id).order_by(tenant.c.id))))


def test_migrations_make_exactly_the_tables(empty_at: Path | str) -> None:
    engine = open_engine(empty_at)
    migrate(engine)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_migrating_twice_changes_nothing(database: Database, records_at: Path | str) -> None:
    add_tenant(database, "a")
    engine = open_engine(records_at)

    assert migrate(engine) == migrate(engine)

    engine.dispose()
    assert tenants(database) == ["a"]


def test_front_ends_that_start_together_migrate_in_turn(empty_at: Path | str) -> None:
    revisions: list[str] = []
    together = threading.Barrier(3)

    def start() -> None:
        engine = open_engine(empty_at)
        together.wait()
        revisions.append(migrate(engine))
        engine.dispose()

    in_threads(*[start] * 3)

    assert len(revisions) == 3
    assert len(set(revisions)) == 1


def test_a_newer_schema_is_refused_untouched(empty_at: Path | str) -> None:
    engine = open_engine(empty_at)
    migrate(engine)
    with engine.connect() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()

    with pytest.raises(PreconditionError) as caught:
        migrate(engine)

    engine.dispose()
    assert "9999" in caught.value.found


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)],
)
def test_connections_are_durable_and_checked(tmp_path: Path, pragma: str, value: object) -> None:
    database = open_database(tmp_path / "records.sqlite")

    found = database.read(lambda c: c.execute(text(f"PRAGMA {pragma}")).scalar_one())

    database.close()
    assert found == value


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def half(connection: object) -> None:
        raise PreconditionError("x", expected="y", found="z", remedy="r")

    with pytest.raises(PreconditionError):
        database.write("half", half)

    assert tenants(database) == []


def test_a_reader_sees_one_snapshot_while_others_write(database: Database) -> None:
    def twice(connection: object) -> tuple[list[str], list[str]]:
        query = select(tenant.c.id)
        before = list(connection.scalars(query))  # type: ignore[attr-defined]
        add_tenant(database, "late")
        return before, list(connection.scalars(query))  # type: ignore[attr-defined]

    assert database.read(twice) == ([], [])
    assert tenants(database) == ["late"]


def test_writes_from_many_threads_all_arrive(database: Database) -> None:
    in_threads(*[partial(add_tenant, database, f"t{number:02d}") for number in range(16)])

    assert len(tenants(database)) == 16


def test_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "nowhere" / "records.sqlite")
    broken = Database(engine, observe_seconds=lambda _name, _seconds: None, monotonic=lambda: 0.0)

    with pytest.raises(UnavailableError):
        broken.read(lambda c: c.execute(text("SELECT 1")))
    with pytest.raises(UnavailableError):
        broken.write("any", lambda c: c.execute(text("SELECT 1")))

    engine.dispose()


def test_closing_folds_the_log_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    database = open_database(path)
    add_tenant(database, "a")

    database.close()

    log = path.with_name(path.name + "-wal")
    assert not log.exists() or log.stat().st_size == 0
