"""PostgreSQL and Redis given by URL: every release from the oldest supported one, as a role that is no superuser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.errors import InvalidConfig
from orchestrator.settings import Settings
from orchestrator.store import migrate
from orchestrator.store.session import Database
from tests import own_servers
from tests.own_servers import PASSWORD, Server
from tests.stack import ROOT, Stack, chat, rows

PACE = {
    "lease_s": 5.0,
    "heartbeat_s": 1.0,
    "claim_by_s": 1.0,
    "recover_every_s": 0.3,
    "poll_s": 0.3,
    "stop_within_s": 3.0,
}
ONE = pytest.mark.parametrize("server", ["embedded"], indirect=True)
"""For what does not hang on the server's release."""
REMEDIES = ("RIGHTSIZE_DATABASE_URL", "rightsize migrate", "CREATE ROLE", "CREATEROLE")


@pytest.fixture(scope="module", params=["embedded", "machine"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The embedded PostgreSQL over TCP with a password, and the oldest supported one of this machine."""
    programs = own_servers.embedded() if request.param == "embedded" else own_servers.of_this_machine()
    if programs is None:
        pytest.skip(own_servers.NONE_HERE)
    with own_servers.postgres(programs) as made:
        yield made


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Valkey over TCP with a password."""
    with own_servers.valkey() as made:
        yield made.url


Make = Callable[..., Settings]


@pytest.fixture
def make(server: Server, redis_url: str, tmp_path: Path) -> Make:
    """Makes a role and a database of its own, and returns the settings that name them."""

    def made(name: str, rights: str = "CREATEROLE", owner: bool = True, **changes: str) -> Settings:
        server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {rights}")
        server.run(f"CREATE DATABASE {name}" + (f" OWNER {name}" if owner else ""))
        given = {"user": name, "password": PASSWORD, "database": name, **changes}
        return Settings.load(
            {
                **PACE,
                "database_url": server.url(**given),
                "redis_url": redis_url,
                "data_dir": tmp_path,
                "config": ROOT / "tests/fleet.toml",
            }
        )

    return made


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `rightsize` with these settings, as a person would."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "orchestrator.cli", *words], env={**os.environ, **Stack(settings).environment()},
        cwd=settings.data_dir, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_batch_runs_on_servers_given_by_url_as_a_role_that_is_no_superuser(make: Make) -> None:
    settings = make("path")
    done = command(settings, "migrate")
    assert done.returncode == 0, done.stderr
    with Stack(settings) as stack:
        stack.orchestrator()
        stack.worker("llm")
        batch = stack.submit(rows(100))
        job = stack.submit_now(chat("Hello"))
        assert stack.wait(batch).final["completed"] == 100
        assert stack.wait_job(job.public_id).state == 10
        stack.must_hold(batch, 100)
        assert stack.query("SELECT usesuper FROM pg_user WHERE usename = session_user")[0][0] is False
    done = command(settings, "doctor", "--json")
    assert done.returncode == 0, done.stdout


def test_a_role_without_createrole_is_enough_once_an_administrator_has_made_the_roles(
    make: Make, server: Server
) -> None:
    plain = make("plain", "")
    refused = command(plain, "migrate")
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())
    assert "GRANT rightsize_app, rightsize_orchestrator, rightsize_worker TO" in said
    for role in ("rightsize_app", "rightsize_orchestrator", "rightsize_worker"):
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                admin.execute(f"CREATE ROLE {role} NOLOGIN".encode())
    server.run("GRANT rightsize_app, rightsize_orchestrator, rightsize_worker TO plain")
    assert command(plain, "migrate").returncode == 0
    assert command(plain, "doctor").returncode == 0


@ONE
@pytest.mark.parametrize("words", [["migrate"], ["orchestrator"], ["api", "--port", "0"], ["intake"], ["worker", "--tier", "llm"], ["doctor"]],
                         ids=lambda words: str(words[0]))  # fmt: skip
def test_a_wrong_password_ends_every_command_with_a_remedy_and_no_traceback(make: Make, words: list[str]) -> None:
    tells_why(command(make(f"wrong_{words[0]}", password="wrong"), *words), "password authentication failed")


@ONE
def test_a_database_that_does_not_exist_is_told_with_a_remedy(make: Make) -> None:
    tells_why(command(make("nowhere", database="elsewhere"), "migrate"), 'database "elsewhere" does not exist')


@ONE
def test_a_database_that_was_never_migrated_is_told_to_be(make: Make) -> None:
    tells_why(command(make("fresh"), "orchestrator"), "Run `rightsize migrate`")


@ONE
def test_a_role_that_may_not_create_is_told_what_it_needs(make: Make) -> None:
    tells_why(command(make("powerless", "CREATEROLE", owner=False), "migrate"), "permission denied for schema public")


@ONE
def test_a_server_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 990_000)
    database = Database(make("old"), "owner", connections=1)
    with pytest.raises(InvalidConfig, match=r"PostgreSQL 1\d is too old"):
        migrate.migrate(database)
    database.close()


def tells_why(done: subprocess.CompletedProcess[str], said: str) -> None:
    """Check that a command failed with a reason and a remedy."""
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, told
    assert said in told
    assert any(remedy in told for remedy in REMEDIES), told
    assert "Traceback" not in told
    assert PASSWORD not in told
