"""Bring a database to the schema of this release, and check that it is in the range that this release can run on.

Alembic is imported only to migrate: every process checks the range when it starts, and that should cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final

from psycopg.errors import DuplicateObject, DuplicateTable
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.store.failures import explained, refused
from orchestrator.store.session import Database

FIRST: Final = "0001"
OLDEST: Final = "0010"
"""The oldest schema that this release can run on."""
NEWEST: Final = "0010"
"""The schema that this release migrates to. Revisions are numbered, so that they can be compared."""
OLDEST_SERVER: Final = 150000
SERVER: Final = text("""
    SELECT current_setting('server_version'), current_user, current_setting('synchronous_commit')
""")


def migrate(database: Database) -> tuple[str | None, str]:
    """Run every migration that is missing; returns the revision before and after.

    Two processes may call it at once: an advisory lock lets one of them do the work.
    Raises InvalidConfig with a remedy for a server that is too old or a role that may not create roles.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("migrations")))
    with _connected(database) as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtextextended('rightsize.migrate', 7))"))
        _check_server(int(connection.execute(text("SHOW server_version_num")).scalar_one()))
        before = _revision(connection)
        if before is not None:
            _check_known(before)
        connection.commit()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, NEWEST)
        except ProgrammingError as error:
            raise _refused(error) from error
        connection.commit()
        connection.execute(text("SELECT pg_advisory_unlock(hashtextextended('rightsize.migrate', 7))"))
        connection.commit()
    return before, NEWEST


def check_schema(database: Database) -> None:
    """Raise InvalidConfig unless the schema is one that this release can run on."""
    with _connected(database) as connection:
        found = _revision(connection)
    if found is None:
        raise InvalidConfig("The database has no Rightsize schema yet. Run `rightsize migrate`.")
    _check_known(found)
    if found < OLDEST:
        raise InvalidConfig(
            f"The database's schema is {found}; this release needs {OLDEST} or later. Run `rightsize migrate`."
        )


def describe_server(database: Database) -> str:
    """The server's version, our role on it, and how it commits; raises InvalidConfig or ServiceUnavailable."""
    with _connected(database) as connection:
        row = connection.execute(SERVER).one()
    return f"PostgreSQL {row[0]}, role {row[1]}, synchronous_commit {row[2]}"


@contextmanager
def _connected(database: Database) -> Iterator[Connection]:
    """A connection; one that the server refuses is an InvalidConfig with a remedy, not a server to wait for."""
    try:
        with explained(), database.engine.connect() as connection:
            yield connection
    except ServiceUnavailable as error:
        if isinstance(error.__cause__, Exception) and (told := refused(error.__cause__)):
            raise told from error
        raise
    except DBAPIError as error:
        raise InvalidConfig(
            f"The database refuses this process: {str(error.orig).splitlines()[0]}. Run `rightsize migrate` with the owner's URL."
        ) from error


def _refused(error: ProgrammingError) -> InvalidConfig:
    told = str(error.orig).splitlines()[0]
    if isinstance(error.orig, DuplicateObject | DuplicateTable):
        return InvalidConfig(
            f"The migration was refused: {told}. The database holds such tables, but no revision of Rightsize's schema: "
            "give an empty database, or restore this one from its backup."
        )
    return InvalidConfig(
        f"The migration was refused: {told}. The owner in RIGHTSIZE_DATABASE_URL needs CREATE on "
        "the schema and CREATEROLE, or a database administrator runs once: CREATE ROLE rightsize_app NOLOGIN; "
        "CREATE ROLE rightsize_orchestrator NOLOGIN; CREATE ROLE rightsize_worker NOLOGIN; "
        "GRANT rightsize_app, rightsize_orchestrator, rightsize_worker TO <owner>;"
    )


def _check_known(revision: str) -> None:
    if not FIRST <= revision <= NEWEST:
        raise InvalidConfig(
            f"The database's schema is {revision}, which this release does not know: it knows {FIRST} to {NEWEST}. "
            "Install the release that made it, or a newer one."
        )


def _revision(connection: Connection) -> str | None:
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(row) if row else None


def _check_server(version: int) -> None:
    if version < OLDEST_SERVER:
        raise InvalidConfig(f"PostgreSQL {version // 10000} is too old: Rightsize needs PostgreSQL 15 or later.")
