"""What a database is, for whoever looks after it."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from service.records.engine import SQLITE, open_engine, unavailable
from service.records.migrate import require_version, revision_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """A database that answers.

    ``place`` has no password; ``revision`` is None where the schema is made at the next start.
    """

    place: str
    product: str
    version: str
    revision: str | None


def place_of(where: Path | str) -> str:
    """Return where records are, without a password."""
    if isinstance(where, Path):
        return str(where)
    return make_url(where).render_as_string(hide_password=True)


def describe(where: Path | str) -> Described:
    """Ask a database what it is; nothing is changed.

    Args:
        where: As of :func:`service.records.engine.open_engine`; a file has to exist.

    Raises:
        PreconditionError: If its schema is newer than this version, its server too old, or the
            driver is not installed.
        UnavailableError: If it cannot be reached.
    """
    engine = open_engine(where)
    try:
        with engine.connect() as connection:
            require_version(connection)
            version = connection.dialect.server_version_info or ()
            return Described(
                place=place_of(where),
                product="SQLite" if connection.dialect.name == SQLITE else "PostgreSQL",
                version=".".join(map(str, version)),
                revision=revision_of(connection),
            )
    except OperationalError as error:
        raise unavailable(error) or error from error
    finally:
        engine.dispose()
