"""Brings a database to the schema of this version, and refuses one from a newer version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from auditor.errors import PreconditionError

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> str:
    """Apply the migrations that are missing and return the schema's revision.

    Raises:
        PreconditionError: If the database was written by a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    if head is None:
        raise PreconditionError(
            "database",
            expected="the migrations that come with the package",
            found="none",
            remedy="Install stageaudit[server] again.",
        )
    with engine.connect().execution_options(write=True) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {s.revision for s in scripts.walk_revisions()}:
            raise PreconditionError(
                "database",
                expected=f"a schema up to revision {head}",
                found=f"revision {current}",
                remedy="Start the version that wrote it, or a newer one; nothing was changed.",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return head
