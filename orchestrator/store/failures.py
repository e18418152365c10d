"""What an error of the database or its driver means to whoever asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.errors import InvalidConfig, ServiceUnavailable

PASSING: Final = ("08", "40", "53", "57", "58")
"""Classes of SQLSTATE that say nothing of the statement: connection, serialization, resources, intervention, system."""
LOCK_TIMEOUT: Final = "55P03"


@contextmanager
def explained() -> Iterator[None]:
    """Turn what passes by itself into ServiceUnavailable: nothing was committed, or its answer was lost.

    What a statement of ours did wrong is raised as it is.
    """
    try:
        yield
    except PoolTimeout as error:
        raise unavailable(error) from error
    except DBAPIError as error:
        if error.connection_invalidated or _passes(error.orig):
            raise unavailable(error) from error
        raise
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        # A COPY runs on the driver's own connection, past SQLAlchemy's wrapping.
        raise unavailable(error) from error


def _passes(error: BaseException | None) -> bool:
    """Whether the same statement may well succeed later, or on another connection."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(PASSING) or error.sqlstate == LOCK_TIMEOUT


def unavailable(error: Exception) -> ServiceUnavailable:
    """What a lost or overloaded database means."""
    return ServiceUnavailable(
        f"The database does not answer ({_first_line(error)}). Check RIGHTSIZE_DATABASE_URL and the server, then try again.",
        retry_after_s=2.0,
    )


def refused(error: Exception) -> InvalidConfig | None:
    """Why the server would not let a process in, with the remedy; None where it did not answer at all.

    A refused connection carries no SQLSTATE: only its text tells.
    """
    detail = _first_line(error)
    if "permission denied to set role" in detail:
        return InvalidConfig(
            f"The database refuses this user: {detail}. Run `rightsize migrate` with the owner's RIGHTSIZE_DATABASE_URL, or as "
            "an administrator: GRANT rightsize_app, rightsize_orchestrator, rightsize_worker TO <owner>;"
        )
    if 'role "rightsize_' in detail:
        return InvalidConfig("The database has no Rightsize schema yet. Run `rightsize migrate`.")
    if "certificate" in detail:
        return InvalidConfig(
            f"The database's certificate is not trusted: {detail}. Give RIGHTSIZE_DATABASE_URL the name that stands in it, and "
            "?sslmode=verify-full&sslrootcert=FILE with the file of the authority that signed it."
        )
    if 'database "' in detail and "does not exist" in detail:
        return InvalidConfig(f"{detail}. Create it, for instance with createdb, or correct RIGHTSIZE_DATABASE_URL.")
    if any(told in detail for told in ("authentication failed", "no password supplied", "pg_hba.conf", 'role "')):
        return InvalidConfig(
            f"The database refuses this user: {detail}. Check the user and the password in RIGHTSIZE_DATABASE_URL, "
            "or RIGHTSIZE_DATABASE_PASSWORD_FILE."
        )
    return None


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    lines = str(cause).strip().splitlines()
    # libpq puts the address before what the server said; the last part is what matters.
    return lines[0].partition("FATAL:  ")[2] or lines[0] if lines else type(cause).__name__
