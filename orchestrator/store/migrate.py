"""Bring a database to the schema of this release, and check that it is in the range that this release can run on.

Alembic is imported only to migrate: every process checks the range when it starts, and that should cost nothing.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from orchestrator.errors import InvalidConfig
from orchestrator.store.session import Database, unavailable

OLDEST: Final = "0001"
"""The oldest schema that this release can run on."""
NEWEST: Final = "0001"
"""The schema that this release migrates to. Revisions are numbered, so that they can be compared."""
OLDEST_SERVER: Final = 150000


def migrate(database: Database) -> tuple[str | None, str]:
    """Run every migration that is missing; returns the revision before and after.

    Two processes may call it at once: an advisory lock lets one of them do the work.
    Raises InvalidConfig with a remedy for a server that is too old or a role that may not create roles.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("migrations")))
    try:
        with database.engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended('rightsize.migrate', 7))"))
            _check_server(int(connection.execute(text("SHOW server_version_num")).scalar_one()))
            before = _revision(connection.execute(text("SELECT to_regclass('alembic_version')")).scalar(), connection)
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, NEWEST)
            connection.commit()
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended('rightsize.migrate', 7))"))
            connection.commit()
    except OperationalError as error:
        raise unavailable(error) from error
    except ProgrammingError as error:
        raise InvalidConfig(
            f"The migration was refused: {str(error.orig).splitlines()[0]}. The owner in RIGHTSIZE_DATABASE_URL needs CREATE on "
            "the schema and CREATEROLE, or a database administrator runs once: CREATE ROLE rightsize_app NOLOGIN; "
            "CREATE ROLE rightsize_worker NOLOGIN; GRANT rightsize_app, rightsize_worker TO <owner>;"
        ) from error
    return before, NEWEST


def check_schema(database: Database) -> None:
    """Raise InvalidConfig unless the schema is one that this release can run on."""
    try:
        with database.engine.connect() as connection:
            found = _revision(connection.execute(text("SELECT to_regclass('alembic_version')")).scalar(), connection)
    except OperationalError as error:
        raise unavailable(error) from error
    except DBAPIError as error:
        raise InvalidConfig(
            f"The database refuses this process: {str(error.orig).splitlines()[0]}. Run `rightsize migrate` with the owner's URL."
        ) from error
    if found is None:
        raise InvalidConfig("The database has no Rightsize schema yet. Run `rightsize migrate`.")
    if found > NEWEST:
        raise InvalidConfig(
            f"The database's schema is {found}, newer than this release knows (up to {NEWEST}). Install the newer release."
        )
    if found < OLDEST:
        raise InvalidConfig(
            f"The database's schema is {found}; this release needs {OLDEST} or later. Run `rightsize migrate`."
        )


def _revision(table: str | None, connection: object) -> str | None:
    if table is None:
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()  # type: ignore[attr-defined]
    return str(row) if row else None


def _check_server(version: int) -> None:
    if version < OLDEST_SERVER:
        raise InvalidConfig(f"PostgreSQL {version // 10000} is too old: Rightsize needs PostgreSQL 15 or later.")
