"""Real servers for every test: one PostgreSQL and one Valkey a session, a database of its own for each test that asks."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from orchestrator.local import instance
from orchestrator.settings import Settings
from orchestrator.store.migrate import migrate
from orchestrator.store.session import Database
from tests.stack import Stack

PACE = {
    "lease_s": 2.0,
    "heartbeat_s": 0.4,
    "claim_by_s": 1.0,
    "recover_every_s": 0.3,
    "poll_s": 0.3,
    "stop_within_s": 3.0,
}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are."""

    database_url: str
    redis_url: str

    def with_database(self, name: str) -> str:
        """The URL of another database on the same server."""
        return self.database_url.replace("/rightsize?", f"/{name}?", 1)


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """No setting of the person who runs the tests leaks into them."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("RIGHTSIZE_")}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def servers(_clean_environment: None) -> Iterator[Servers]:
    """Embedded PostgreSQL and Valkey for the whole session, with a migrated database to copy from."""
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as folder:
        settings = Settings.load({"data_dir": Path(folder)})
        with instance.attach(settings, parts=[]) as running:
            found = Servers(running.database_url, running.redis_url)
            with psycopg.connect(running.database_url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE migrated")
            database = Database(
                Settings.load({"database_url": found.with_database("migrated")}), "owner", connections=1
            )
            migrate(database)
            database.close()
            yield found


@pytest.fixture
def empty_database(servers: Servers) -> str:
    """The URL of a database without a schema."""
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return servers.with_database(name)


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Settings:
    """Settings with a migrated database of the test's own, a Redis database of its own, and a quick pace."""
    number = next(_numbers)
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE test_{number} TEMPLATE migrated")
    redis_url = servers.redis_url.replace("virtual_host=0", f"virtual_host={1 + number % 15}")
    return Settings.load(
        {
            **PACE,
            "database_url": servers.with_database(f"test_{number}"),
            "redis_url": redis_url,
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
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as folder:
        first = Settings.load({"data_dir": Path(folder)})
        with instance.attach(first, parts=[]) as running:
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
