"""Real servers for every test: one PostgreSQL and one Valkey a session, a database of its own for each test that asks.

The PostgreSQL is the embedded one. `RIGHTSIZE_TEST_DATABASE_URL=postgresql://user:password@host/postgres` names another
server to test on, on which the user may create databases and roles; what the tests make there is dropped at their end.
Tests that kill their servers (`own_stack`) keep to the embedded ones.
"""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from orchestrator.local import instance
from orchestrator.local.instance import Instance
from orchestrator.settings import Settings
from orchestrator.store.migrate import migrate
from orchestrator.store.session import Database
from tests.lasting import LASTING, Lasting
from tests.stack import Stack

if find_spec("hypothesis"):  # which the environment of the real vLLM does without
    import hypothesis

    # How long an example takes says what else this machine does, and nothing about the code.
    hypothesis.settings.register_profile(
        "shared-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("shared-machine")

PACE = {
    "lease_s": 2.0,
    "heartbeat_s": 0.4,
    "claim_by_s": 1.0,
    "recover_every_s": 0.3,
    "poll_s": 0.3,
    "stop_within_s": 3.0,
}
GIVEN = os.environ.get("RIGHTSIZE_TEST_DATABASE_URL")
"""Read here, before the fixture below clears the environment."""
MINE = f"rs{os.getpid()}_"
"""Begins the names of this session's databases: a given server may serve others too."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are."""

    database_url: str
    redis_url: str

    def with_database(self, name: str) -> str:
        """The URL of another database on the same server."""
        return make_url(self.database_url).set(database=name).render_as_string(hide_password=False)

    def create(self, name: str, *options: str) -> str:
        """Create a database of this session, and return its URL."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {MINE}{name} {' '.join(options)}".encode())
        return self.with_database(f"{MINE}{name}")

    def create_migrated(self, name: str) -> str:
        """Make a database of this session with the schema in it; returns its URL."""
        return self.create(name, "TEMPLATE", f"{MINE}migrated")

    def rest(self) -> None:
        """No visits to the databases of tests that have ended: with hundreds of them they come ten times a second."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1h'")
            connection.execute("SELECT pg_reload_conf()")

    def drop_all(self) -> None:
        """Drop this session's databases."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            for (name,) in connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [MINE]):
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(autouse=True, scope="session")
def _signals() -> None:
    """Ctrl-C reaches what the tests start: a shell that runs them in the background has it ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """No setting of the person who runs the tests leaks into them."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("RIGHTSIZE_")}
    yield
    os.environ.update(kept)


@contextmanager
def attached(**given: str | None) -> Iterator[Instance]:
    """Servers in a folder of their own, of which nothing is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as folder:
        data_dir = Path(folder) / "data"
        with instance.attach(Settings.load({"data_dir": data_dir, **given}), parts=[]) as running:
            yield running
        end = time.monotonic() + 30
        while running.alive():
            assert time.monotonic() < end, "the servers do not stop"
            time.sleep(0.02)
        instance.erase(data_dir)


@pytest.fixture(scope="session")
def servers(_clean_environment: None) -> Iterator[Servers]:
    """PostgreSQL and Valkey for the whole session, with a migrated database to copy from."""
    with attached(database_url=GIVEN) as running:
        found = Servers(running.database_url, running.redis_url)
        database = Database(Settings.load({"database_url": found.create("migrated")}), "owner", connections=1)
        migrate(database)
        database.close()
        if not GIVEN:
            found.rest()
        yield found
        if GIVEN:
            found.drop_all()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What the tests of another folder shared ends here."""
    LASTING.end(but=item.path.parent)


@pytest.fixture(scope="session")
def lasting(servers: Servers) -> Iterator[Lasting]:
    """What the files of a folder share; the rest of it ends before the servers do."""
    yield LASTING
    LASTING.end()


@pytest.fixture
def empty_database(servers: Servers) -> str:
    """The URL of a database without a schema."""
    return servers.create(f"empty_{next(_numbers)}")


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Settings:
    """Settings with a migrated database of the test's own, a Redis database of its own, and a quick pace."""
    number = next(_numbers)
    return Settings.load(
        {
            **PACE,
            "database_url": servers.create_migrated(f"test_{number}"),
            "redis_url": servers.redis_url.replace("virtual_host=0", f"virtual_host={1 + number % 12}"),
            "data_dir": tmp_path,
            "config": Path(__file__).parent / "fleet.toml",
        }
    )


@pytest.fixture
def stack(settings: Settings) -> Iterator[Stack]:
    """Orchestrator and workers as real processes on the test's own database; nothing is started yet."""
    with Stack(settings) as made:
        made.broker.redis.flushdb()
        yield made


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """The same on servers of its own, for tests that harm them."""
    with attached() as running:
        settings = Settings.load(
            {
                **PACE,
                "database_url": running.database_url,
                "redis_url": running.redis_url,
                "data_dir": tmp_path,
                "config": Path(__file__).parent / "fleet.toml",
            }
        )
        database = Database(settings, "owner", connections=1)
        migrate(database)
        database.close()
        with Stack(settings, instance=running) as made:
            yield made
