"""The backup of `docs/operations/backup-and-restore.md`, by its own commands: made while work runs, and restored into new servers."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import httpx2
import orjson
import pytest

from orchestrator.local import state
from orchestrator.settings import Settings
from tests import docs_run, own_servers
from tests.api.test_batches import create, ended
from tests.operations.pages import blocks_under, run_elsewhere
from tests.own_servers import PASSWORD, Server
from tests.serving import Api, serve
from tests.stack import ROOT, Stack, chat, erase_stopped, row, rows, until
from tests.store.test_other_servers import PACE

PAGE: Final = "backup-and-restore.md"
ROLE, OWNER, BACK_UP, RESTORE, LOCAL = (
    "Who may dump", "Where nobody can give BYPASSRLS", "Back up", "Restore", "A local instance",
)  # fmt: skip
ROWS: Final = 400
"""Of a second each: what runs outlasts the backup."""
LARGE: Final = "word " * 3_000
"""More than the stack keeps in a row."""
NO_CLIENT: Final = "this machine's PostgreSQL has no pg_dump beside it: apt install postgresql-client"


def programs_of(place: str) -> Path:
    """The folder of the programs of the embedded PostgreSQL, or of the oldest supported one of this machine."""
    found = own_servers.embedded() if place == "embedded" else own_servers.of_this_machine()
    if found is None:
        pytest.skip(own_servers.NONE_HERE)
    if not (found / "pg_dump").is_file():
        assert place == "machine", "the embedded PostgreSQL has lost its pg_dump, which the run book needs"
        pytest.skip(NO_CLIENT)
    return found


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who follows the page: its commands, with the programs of one PostgreSQL."""

    session: docs_run.Session
    programs: Path

    def export(self, **given: str) -> None:
        """Set variables for the commands that follow."""
        self.session.script([f"export {name}={shlex.quote(value)}" for name, value in given.items()])

    def follow(self, heading: str, *numbers: int) -> None:
        """Run the blocks under a heading: all, or those of these numbers."""
        for number, block in enumerate(blocks_under(PAGE, heading)):
            if not numbers or number in numbers:
                self.session.run(block)


@pytest.fixture(params=["embedded", "machine"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    programs = programs_of(request.param)
    made = Reader(docs_run.new_session(tmp_path / "page"), programs)
    made.export(PATH=f"{programs}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return made


@contextmanager
def servers(programs: Path) -> Iterator[tuple[Server, str]]:
    """A new PostgreSQL, and the URL of a new Redis."""
    with own_servers.postgres(programs) as server, own_servers.valkey() as redis:
        yield server, redis.url


def settings_of(server: Server, redis_url: str, folder: Path, user: str, password: str) -> Settings:
    folder.mkdir(exist_ok=True)
    return Settings.load(
        {
            **PACE,
            "database_url": server.url("rightsize" if user == "rightsize" else "house", user, password),
            "redis_url": redis_url,
            "data_dir": folder,
            "blob_dir": folder / "blobs",
            "config": ROOT / "tests/fleet.toml",
            "inline_body_bytes": 2_000,
        }
    )


def first_house(server: Server, redis_url: str, folder: Path) -> Settings:
    """An installation whose owner is no superuser, and whose database is not called as the page calls it."""
    server.run(
        f"CREATE ROLE house LOGIN CREATEROLE PASSWORD '{PASSWORD}'",
        "CREATE DATABASE house OWNER house",
    )
    return settings_of(server, redis_url, folder, "house", PASSWORD)


def export(reader: Reader, settings: Settings, **more: str) -> None:
    """What a process of this installation has in its environment."""
    reader.export(**Stack(settings).environment(), **more)


@dataclass(frozen=True, slots=True)
class Before:
    """What was there at the time of the backup, and must be afterwards."""

    key: str
    revoked: str
    finished: str
    running: str
    digests: Mapping[str, str]
    """Of the contents of files, by their ids."""
    charges: Mapping[str, Decimal]


def digest(api: Api, file_id: str) -> str:
    found = api.http.get(f"/v1/files/{file_id}/content")
    assert found.status_code == 200, found.text
    return hashlib.sha256(found.content).hexdigest()


def charges(stack: Stack, batch_id: str) -> dict[str, Decimal]:
    """The sums of the ledger of one batch by kind."""
    found = stack.query("SELECT t.kind, sum(t.amount_usd) AS total FROM transfers t JOIN batches b ON b.id = t.batch_id "
                        "WHERE b.public_id = :id GROUP BY t.kind", id=batch_id.removeprefix("batch_"))  # fmt: skip
    return {one.kind: one.total for one in found}


def work(api: Api) -> Before:
    """A finished batch with large rows and a failed one, a file, keys, a budget, and a batch that runs."""
    stack = api.stack
    mixed = [*rows(40), row("large", chat(LARGE)), row("bad", chat("[[fail:400]]"))]
    finished = ended(api, create(api, mixed))
    assert (finished.request_counts.completed, finished.request_counts.failed) == (41, 1)
    apart = api.openai.files.create(file=("notes.bin", os.urandom(100_000)), purpose="user_data").id
    api.http.put("/v1/budgets", json={"scope": "project", "named": "default", "period": "month", "limit_usd": "1000"})
    named = orjson.loads(api.http.post("/v1/keys", json={"name": "doomed"}).content)
    assert api.http.delete(f"/v1/keys/{named['id']}").status_code == 200
    key = api.http.post("/v1/keys", json={"name": "kept", "scopes": ["submit", "read", "admin"]}).json()["key"]
    running = create(
        api, [row(f"slow-{n}", chat(f"[[sleep:1]] {n} {LARGE if n % 50 == 49 else ''}")) for n in range(ROWS)]
    )
    until(lambda: api.http.get(f"/v1/batches/{running}").json()["request_counts"]["completed"] > 30, 30, "it runs")
    kept = [finished.input_file_id, finished.output_file_id, finished.error_file_id, apart]
    return Before(
        key, named["key"], finished.id, running, {one: digest(api, one) for one in kept if one}, charges(stack, finished.id)
    )  # fmt: skip


def is_taken(url: str, key: str) -> bool:
    """Whether the API takes a key."""
    found = httpx2.get(f"{url}/v1/batches", headers={"Authorization": f"Bearer {key}"})
    assert found.status_code in (200, 401), found.text
    return found.status_code == 200


def compare(api: Api, before: Before) -> None:
    """All that was there is there again, and the batch that ran goes on to its end."""
    stack = api.stack
    assert is_taken(api.url, before.key)
    assert not is_taken(api.url, before.revoked)
    assert {one: digest(api, one) for one in before.digests} == before.digests
    assert charges(stack, before.finished) == before.charges
    assert api.http.get(f"/v1/batches/{before.finished}").json()["status"] == "completed"
    (budget,) = [one for one in api.http.get("/v1/budgets").json()["data"] if one["period"] == "month"]
    assert Decimal(budget["limit_usd"]) == 1000
    batch = ended(api, before.running)
    assert (batch.status, batch.request_counts.completed) == ("completed", ROWS)
    names = [
        orjson.loads(line)["custom_id"]
        for line in api.openai.files.content(batch.output_file_id or "").text.splitlines()
    ]
    assert sorted(names) == sorted(f"slow-{n}" for n in range(ROWS)), "each custom_id once"
    charged = charges(stack, before.running)["charge"]
    assert charged == Decimal(batch.model_extra["rightsize"]["cost_usd"])  # type: ignore[index]
    assert stack.doctor() == []


@pytest.mark.slow
@pytest.mark.parametrize("reader, way", [("embedded", BACK_UP), ("machine", OWNER)], indirect=["reader"])
def test_a_backup_that_was_made_while_work_ran_is_restored_into_new_servers_and_the_work_goes_on(
    reader: Reader, tmp_path: Path, way: str
) -> None:
    with ExitStack() as first:
        server, redis_url = first.enter_context(servers(reader.programs))
        settings = first_house(server, redis_url, tmp_path / "first")
        export(reader, settings, ADMIN_URL=server.url("house"))
        reader.session.script(["rightsize migrate"])
        reader.follow(ROLE)
        reader.export(BACKUP_URL=server.url("house", "rightsize_backup", "choose-one"))
        stack = first.enter_context(Stack(settings))
        stack.orchestrator()
        stack.worker()
        api = first.enter_context(serve(stack))
        before = work(api)
        if way == OWNER:
            reader.follow(OWNER)
            (first_block,) = blocks_under(PAGE, BACK_UP)
            reader.session.script([line.removeprefix("$ ") for line in first_block.lines[1:]])
        else:
            reader.follow(BACK_UP)
        assert api.http.get(f"/v1/batches/{before.running}").json()["status"] == "in_progress", (
            "the work must outlast the backup"
        )
    shutil.rmtree(settings.blobs)

    with servers(reader.programs) as (server, redis_url), Stack(
        settings_of(server, redis_url, tmp_path / "second", "rightsize", "choose-one")
    ) as stack:  # fmt: skip
        export(reader, stack.settings, ADMIN_URL=server.url("postgres"))
        reader.follow(RESTORE, 0, 1)
        done = stack.count("SELECT count(*) FROM jobs j JOIN batches b ON b.id = j.batch_id WHERE b.public_id = :id AND j.state = 10",
                           id=before.running.removeprefix("batch_"))  # fmt: skip
        assert 30 < done < ROWS, "the backup was made in the middle of the work"
        stack.orchestrator()
        for last in (False, False, True):
            stack.worker(ready=last)
        with serve(stack) as api:
            compare(api, before)
            reader.follow(RESTORE, 2)


def dump(programs: Path, url: str, to: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [str(programs / "pg_dump"), *options, "--format=custom", f"--file={to}", url]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_what_pg_dump_does_with_each_role_is_what_the_page_says(reader: Reader, tmp_path: Path) -> None:
    programs, whole = reader.programs, tmp_path / "page" / "first" / "rightsize.dump"
    guard = blocks_under(PAGE, BACK_UP)[0].lines[1].removeprefix("$ ")
    assert guard.startswith("pg_restore")
    with own_servers.postgres(programs) as server:
        settings = first_house(server, "redis://127.0.0.1:1", tmp_path / "data")
        export(reader, settings, ADMIN_URL=server.url("house"))
        reader.session.script(["rightsize migrate"])
        reader.follow(ROLE)
        server.run(f"CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data")
        stranger, backup = server.url("house", "stranger"), server.url("house", "rightsize_backup", "choose-one")
        for url in (settings.require_database(), stranger):
            refused = dump(programs, url, whole)
            assert refused.returncode == 1
            assert 'query would be affected by row-level security policy for table "api_keys"' in refused.stderr
        for url in (server.url("house"), backup):
            assert dump(programs, url, whole).returncode == 0
            assert "\tdefault\t" in reader.session.script([guard])
        assert dump(programs, settings.require_database(), whole, "--enable-row-security").returncode == 0
        assert "\tdefault\t" in reader.session.script([guard])
        assert dump(programs, stranger, whole, "--enable-row-security").returncode == 0
        with pytest.raises(AssertionError, match="left with 1"):
            reader.session.script([guard])
        # Whoever administers the roles may also have given the owner nothing of theirs by itself.
        if server.version >= 160_000:
            server.run(
                "REVOKE rightsize_orchestrator FROM house GRANTED BY house",
                "GRANT rightsize_orchestrator TO house WITH INHERIT FALSE",
            )
        else:
            server.run("ALTER ROLE house NOINHERIT")
        assert dump(programs, settings.require_database(), whole, "--enable-row-security").returncode == 0
        with pytest.raises(AssertionError, match="left with 1"):
            reader.session.script([guard])


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that the servers' account can pass through where we are root: their data then lies in the instance's own folder."""
    with tempfile.TemporaryDirectory(prefix="rs-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.mark.slow
def test_a_local_instance_is_copied_when_it_has_stopped_and_goes_on_from_the_copy(passable: Path) -> None:
    session = docs_run.new_session(passable)
    before, after = session.data_dir, passable / "restored"
    back_up, restore = blocks_under(PAGE, LOCAL)
    try:
        made = session.script(["rightsize submit examples/tickets.csv --wait --json --out answers.jsonl"])
        answers = (session.folder / "answers.jsonl").read_text("utf-8")
        assert answers.count("\n") == orjson.loads(made)["request_counts"]["completed"] > 10
        until(lambda: not _runs(before), 60, "the instance has stopped")
        session.run(back_up)
        erase_stopped(before)
        session.script([f"export RIGHTSIZE_DATA_DIR={after}"])
        session.run(restore)
        assert session.script([f"rightsize results {orjson.loads(made)['id']}"]) == answers
    finally:
        for folder in (before, after):
            erase_stopped(folder)


def _runs(data_dir: Path) -> bool:
    found = state.read(data_dir)
    return found is not None and found.is_live()


def test_every_block_of_the_page_that_is_not_run_where_it_stands_is_run_here() -> None:
    run = {
        (block.page, block.line)
        for heading in (ROLE, OWNER, BACK_UP, RESTORE, LOCAL)
        for block in blocks_under(PAGE, heading)
    }
    assert run == set(run_elsewhere("test_backup.py"))
