"""The database and the one place that commits."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Literal

import psycopg
from sqlalchemy import Connection, Row, TextClause, create_engine, event, text
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.orm import Session

from orchestrator.errors import InvalidConfig, ServiceUnavailable
from orchestrator.settings import Settings
from orchestrator.store.failures import explained
from orchestrator.store.models import Base

Role = Literal["owner", "app", "orchestrator", "worker"]

STALL_S: Final = 5.0
_DIALECT: Final = dialect()  # type: ignore[no-untyped-call]
AS_TENANT: Final = text("SELECT set_config('rightsize.tenant', :tenant, true)")


class Database:
    """A bounded pool of connections, each under one of the four database roles.

    Every table of tenants' rows is under row-level security, forced on the owner as well. What a role sees of them:

    - `app`: those of the one tenant that the transaction names, and none without a name;
    - `orchestrator`: those of all tenants;
    - `worker`: those of all tenants, of jobs only the ones that are or were in a dispatch. Tables that it has no use for are not
      granted to it at all;
    - `owner`: none, unless it is a superuser or has BYPASSRLS. It changes tables, and takes another role to change rows.

    Tables without tenants' rows (dispatches, workers, versions, intervals of machines) are bounded by grants alone.
    """

    def __init__(
        self, settings: Settings, role: Role, *, connections: int = 8, statement_timeout_s: float = 60.0
    ) -> None:
        self.role = role
        url = _url_of(settings)
        options = [f"-c statement_timeout={int(statement_timeout_s * 1000)}", "-c timezone=UTC", "-c jit=off"]
        # A process that freezes inside a transaction holds its rows no longer than its lease, or than a stall of a busy machine may take.
        options.append(f"-c idle_in_transaction_session_timeout={int(max(settings.lease_s, STALL_S) * 1000)}")
        if role != "owner":
            options.append(f"-c role=rightsize_{role}")
        if role == "worker":
            # It only ever asks for rows by their ids. A plan that was made while the tables were new would read all of them, until the
            # server has looked at them again: with ten thousand jobs that is twice the time of a request.
            options.append("-c enable_seqscan=off")
        if not settings.synchronous_commit:
            options.append("-c synchronous_commit=off")
        self.engine: Engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=False,
            hide_parameters=True,
            connect_args={
                "connect_timeout": 5,
                "prepare_threshold": 2,
                "options": " ".join(options),
                "application_name": f"rightsize-{role}",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )

        event.listen(self.engine, "checkout", _must_be_open)
        self._at_once = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def unit_of_work(self, tenant_id: int | None = None) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or rolled back if it raises; as a tenant, if one is named.

        Raises ServiceUnavailable when the server does not answer: nothing was committed, or its answer was lost.
        """
        with explained(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            if tenant_id is not None:
                session.execute(AS_TENANT, {"tenant": str(tenant_id)})
            yield session

    def at_once(self, statement: TextClause, values: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """What one statement gives that is a transaction by itself: one round trip, where a unit of work takes three.

        Raises ServiceUnavailable as `unit_of_work` does.
        """
        with explained(), self._at_once.connect() as connection:
            return connection.execute(statement, values).all()

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Whether this process now holds the advisory lock `name`, on a connection of its own, until the block ends."""
        with explained(), self._at_once.connect() as connection:
            held = connection.execute(
                text("SELECT pg_try_advisory_lock(hashtextextended(:name, 7))"), {"name": name}
            ).scalar_one()
            try:
                yield bool(held)
            finally:
                if held:
                    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 7))"), {"name": name})

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _must_be_open(connection: psycopg.Connection, *_: object) -> None:
    """Have the pool replace a connection that its server ended while it lay idle: only then is there something to be read on it.

    It asks the kernel alone, so that it costs no round trip; without it each pool would fail once more after the server is back.
    """
    looking = select.poll()
    looking.register(connection.fileno(), select.POLLIN)
    if looking.poll(0):
        raise DisconnectionError("The server has ended this connection.")


def copy_rows(session: Session, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into a table inside the session's transaction; names come from our own code only.

    A role that is under row-level security may not COPY: then they go in by an INSERT, at about half the speed.
    Raises what SQLAlchemy would raise for an INSERT of a row that the table does not take.
    """
    connection = session.connection()
    if _is_bound(connection):
        values = {name: list(column) for name, column in zip(columns, zip(*rows, strict=True), strict=False)}
        if values:
            session.execute(_insert_of(table, tuple(columns)), values)
        return
    driver = connection.connection.driver_connection
    if driver is None:
        raise ServiceUnavailable("The database connection is gone. Try again.")
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        # SQLAlchemy does not see what goes wrong on the driver's own connection.
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            connection.invalidate(error)
            raise
        raise DBAPIError.instance(f"COPY {table}", None, error, psycopg.Error) from error


def _is_bound(connection: Connection) -> bool:
    """Whether row-level security holds for a connection's role; asked once of each connection."""
    if "is_bound" not in connection.info:
        connection.info["is_bound"] = connection.execute(text("SELECT row_security_active('jobs')")).scalar_one()
    return bool(connection.info["is_bound"])


@cache
def _insert_of(table: str, columns: tuple[str, ...]) -> TextClause:
    kinds = {column.name: column.type.compile(_DIALECT) for column in Base.metadata.tables[table].columns}
    arrays = ", ".join(f"CAST(:{name} AS {kinds[name]}[])" for name in columns)
    return text(f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays})")


def try_lock(session: Session, name: str) -> bool:
    """Take the advisory lock `name` until the transaction ends, or say that somebody else holds it."""
    return bool(
        session.execute(
            text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 7))"), {"name": name}
        ).scalar_one()
    )


def _url_of(settings: Settings) -> URL:
    raw = settings.require_database()
    try:
        url = make_url(raw)
    except ArgumentError as error:
        raise InvalidConfig(
            "RIGHTSIZE_DATABASE_URL is not a URL. Write it as postgresql://user:password@host:5432/name."
        ) from error
    if url.get_backend_name() != "postgresql":
        raise InvalidConfig(f"RIGHTSIZE_DATABASE_URL must begin with postgresql://, not {url.drivername}://.")
    password_file = settings.database_password_file
    if password_file is not None:
        url = url.set(password=settings.secret_in(password_file))
    return url.set(drivername="postgresql+psycopg")
