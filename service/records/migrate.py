"""Brings a database to the schema of this version, and refuses one from a newer version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import OperationalError

from auditor.errors import PreconditionError
from service.records.engine import POSTGRESQL, unavailable

_MIGRATIONS = Path(__file__).parent / "migrations"
OLDEST_POSTGRESQL = 14
_ONE_AT_A_TIME = 0x57A6EA0D
"""Number of the advisory lock under which front ends that start together migrate in turn."""


def migrate(engine: Engine) -> str:
    """Apply the migrations that are missing and return the schema's revision.

    Raises:
        PreconditionError: If the database was written by a newer version, or its server is too
            old.
        UnavailableError: If the database cannot be reached.
    """
    try:
        with engine.connect().execution_options(write=True) as connection:
            return _migrate(connection)
    except OperationalError as error:
        raise unavailable(error) or error from error


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a database's schema; None where there is no schema yet.

    Raises:
        PreconditionError: If the database was written by a newer version.
    """
    current = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    if current is not None and current not in {s.revision for s in scripts.walk_revisions()}:
        raise PreconditionError(
            "database",
            expected=f"a schema up to revision {scripts.get_current_head()}",
            found=f"revision {current}",
            remedy="Start the version that wrote it, or a newer one; nothing was changed.",
        )
    return current


def require_version(connection: Connection) -> None:
    """Refuse a server that is too old.

    Raises:
        PreconditionError: If it is.
    """
    version = connection.dialect.server_version_info or (0,)
    if connection.dialect.name == POSTGRESQL and int(version[0]) < OLDEST_POSTGRESQL:
        raise PreconditionError(
            "database",
            expected=f"PostgreSQL {OLDEST_POSTGRESQL} or newer",
            found=".".join(map(str, version)),
            remedy="Upgrade the server, or use another one.",
        )


def _migrate(connection: Connection) -> str:
    config = _config()
    head = ScriptDirectory.from_config(config).get_current_head()
    if head is None:
        raise PreconditionError(
            "database",
            expected="the migrations that come with the package",
            found="none",
            remedy="Install stageaudit[server] again.",
        )
    require_version(connection)
    if connection.dialect.name == POSTGRESQL:
        connection.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    revision_of(connection)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
