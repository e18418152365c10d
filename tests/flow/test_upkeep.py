"""Upkeep: each kind does what it says on rows and blobs that are old enough, and leaves what is younger."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from orchestrator import ids
from orchestrator.doctoring import blobs
from orchestrator.errors import BudgetExhausted, NotFound, ServiceUnavailable
from orchestrator.flow import read, upkeep
from orchestrator.requests import CHAT
from orchestrator.settings import Settings
from orchestrator.store import files
from orchestrator.store.files import NewFile
from orchestrator.store.session import Database
from tests.stack import OWNER, Stack, chat, rows, until

DAYS = 30
DAY_S = 86_400
OLD = f"interval '{DAYS + 1} days'"
MONDAY = date(2024, 1, 1)


def never() -> bool:
    """Nobody tells us to stop."""
    return False


@pytest.fixture
def owner(settings: Settings) -> Iterator[Database]:
    """The owner of the tables."""
    with closing(Database(settings, "owner", connections=1)) as made:
        yield made


def change(database: Database, *statements: str, **values: Any) -> None:
    with database.unit_of_work() as session:
        for statement in statements:
            session.execute(text(statement), values)


def put_file(stack: Stack, name: str, *, expires_s: int | None = None) -> str:
    """A file with its blob; returns the key."""
    key = f"inputs/{ids.uuid7().hex}"
    stack.context.blobs.put(key, name.encode())
    with stack.context.database.unit_of_work() as session:
        files.add(session, OWNER, ids.uuid7(), NewFile("user_data", name, len(name), key, expires_s))
    return key


def is_there(stack: Stack, key: str) -> bool:
    try:
        stack.context.blobs.size(key)
    except NotFound:
        return False
    return True


def partitions(stack: Stack) -> set[str]:
    found = stack.query("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN "
                        "('results'::regclass, 'job_requests'::regclass)")  # fmt: skip
    return {name for (name,) in found}


def old_week(stack: Stack, owner: Database) -> list[str]:
    """A finished batch whose bodies and results are blobs, put back into a week of its own; returns the names of those blobs."""
    stack.orchestrator()
    stack.worker()
    stack.wait(stack.submit(rows(3)))
    later = MONDAY + timedelta(weeks=1)
    for table in ("job_requests", "results"):
        change(
            owner,
            f"CREATE TABLE {table}_{MONDAY:%Y%m%d} PARTITION OF {table} FOR VALUES FROM ('{MONDAY}') TO ('{later}')",
            f"UPDATE {table} SET stored_on = '{MONDAY + timedelta(days=3)}'",
        )
    change(owner, f"UPDATE jobs SET stored_on = '{MONDAY + timedelta(days=3)}'")
    keys = stack.query("SELECT blob_key FROM results UNION ALL SELECT blob_key FROM job_requests")
    found = [key for (key,) in keys]
    assert len(found) == 6
    assert all(key and is_there(stack, key) for key in found)
    return found


@pytest.fixture
def large(settings: Settings) -> Iterator[Stack]:
    """A stack that puts every body and every result into the blob store, and gives a slow machine time within a transaction."""
    with Stack(settings.model_copy(update={"inline_body_bytes": 0, "lease_s": 20.0})) as made:
        made.broker.redis.flushdb()
        yield made


def large_settings_reach_the_processes(stack: Stack) -> bool:
    return stack.environment().get("RIGHTSIZE_INLINE_BODY_BYTES") == "0"


def test_files_past_their_own_time_or_their_tenants_retention_go_with_their_blobs(stack: Stack) -> None:
    kept, expired, aged, longer = (put_file(stack, name) for name in ("kept", "expired", "aged", "longer"))
    house = stack.context.database
    change(house, "UPDATE files SET expires_at = now() - interval '1 second' WHERE blob_key = :key", key=expired)
    change(house, f"UPDATE files SET created_at = now() - {OLD} WHERE blob_key = :key", key=aged)
    change(
        house,
        f"UPDATE files SET created_at = now() - {OLD}, expires_at = now() + interval '1 day' WHERE blob_key = :key",
        key=longer,
    )
    upkeep.run(stack.context, never)
    assert [is_there(stack, key) for key in (kept, expired, aged, longer)] == [True, False, False, True]
    left = stack.query("SELECT filename, blob_key FROM files WHERE deleted_at IS NOT NULL ORDER BY filename")
    assert [tuple(row) for row in left] == [("aged", ""), ("expired", "")]
    change(house, "UPDATE tenants SET retention_days = 1")
    change(house, "UPDATE files SET created_at = now() - interval '25 hours' WHERE blob_key = :key", key=kept)
    upkeep.run(stack.context, never)
    assert not is_there(stack, kept)


def test_the_input_of_a_batch_that_is_open_is_kept_past_its_time(stack: Stack) -> None:
    batch = stack.submit(rows(2))
    house = stack.context.database
    change(house, "UPDATE files SET expires_at = now() - interval '1 second'")
    upkeep.run(stack.context, never)
    assert stack.count("SELECT count(*) FROM files WHERE deleted_at IS NULL") == 1
    stack.orchestrator()
    stack.worker()
    assert stack.wait(batch).final["completed"] == 2
    upkeep.run(stack.context, never)
    assert stack.count("SELECT count(*) FROM files WHERE deleted_at IS NULL AND purpose = 'batch'") == 0


def test_blobs_of_files_whose_erasing_was_cut_short_are_deleted_by_the_next_upkeep(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = put_file(stack, "doomed")
    change(stack.context.database, "UPDATE files SET expires_at = now()")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "erased", die)
        with pytest.raises(KeyboardInterrupt):
            upkeep.run(stack.context, never)
    assert not is_there(stack, key)
    assert stack.count("SELECT count(*) FROM files WHERE blob_key <> ''") == 1
    upkeep.run(stack.context, never)
    assert stack.count("SELECT count(*) FROM files WHERE blob_key <> ''") == 0


def test_an_upkeep_killed_between_deleting_blobs_and_noting_it_is_ended_by_the_next(stack: Stack) -> None:
    key = put_file(stack, "doomed", expires_s=0)
    assert stack.orchestrator(crash_at="upkeep.after_erase:kill").wait(30) == -signal.SIGKILL
    assert not is_there(stack, key)
    assert stack.count("SELECT count(*) FROM files WHERE blob_key <> ''") == 1
    stack.orchestrator()
    until(lambda: stack.count("SELECT count(*) FROM files WHERE blob_key <> ''") == 0, 20, "it is noted")
    stack.must_hold()


def test_an_upkeep_killed_after_a_drop_leaves_blobs_that_the_doctor_tells_of_and_a_later_upkeep_deletes(
    large: Stack, owner: Database
) -> None:
    keys = old_week(large, owner)
    large.kill(large.processes[0])
    assert large.orchestrator(crash_at="upkeep.after_drop:kill").wait(30) == -signal.SIGKILL
    left = [key for key in keys if is_there(large, key)]
    assert len(left) == 6
    upkeep.run(large.context, never)
    left = [key for key in keys if is_there(large, key)]
    assert len(left) == 3, "those of the week whose drop was cut short"
    for path in large.settings.blobs.rglob("*"):
        os.utime(path, (time.time() - 2 * DAY_S,) * 2)
    (told,) = [one for one in blobs.examine(large.context.blobs, large.context.database) if one.name == "orphans"]
    assert "3 of the" in told.detail
    assert upkeep.erase_orphans(large.context, never) == 0, "they are within the retention"
    for path in large.settings.blobs.rglob("*"):
        os.utime(path, (time.time() - (DAYS + upkeep.SPARED_DAYS + 1) * DAY_S,) * 2)
    assert upkeep.erase_orphans(large.context, lambda: True) == 0
    assert upkeep.erase_orphans(large.context, never) == 3
    assert [key for key in keys if is_there(large, key)] == []
    kept = [key for (key,) in large.query("SELECT blob_key FROM files")]
    assert all(is_there(large, key) for key in kept)
    assert large.doctor() == []


def test_a_step_that_fails_keeps_no_other_from_its_turn(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    key = put_file(stack, "doomed", expires_s=0)

    def fails(*_: object) -> int:
        raise ValueError("as a bug of ours would")

    monkeypatch.setattr(upkeep.single, "forget_keys", fails)
    upkeep.run(stack.context, never)
    assert not is_there(stack, key)


def test_an_upload_that_no_row_knows_goes_once_it_is_old(stack: Stack) -> None:
    kept, stray = put_file(stack, "kept"), f"inputs/{'0' * 32}"
    stack.context.blobs.put(stray, b"stored, and its row's commit was lost")
    assert upkeep.erase_orphans(stack.context, never) == 0
    for path in stack.settings.blobs.rglob("*"):
        os.utime(path, (0, 0))
    assert upkeep.erase_orphans(stack.context, never) == 1
    assert is_there(stack, kept)
    assert not is_there(stack, stray)


def test_bodies_that_rows_know_are_no_orphans_however_old_they_are(large: Stack) -> None:
    batch = large.submit(rows(3))
    read.read_batch(large.context, batch)
    for path in large.settings.blobs.rglob("*"):
        os.utime(path, (time.time() - 100 * DAYS * DAY_S,) * 2)
    others = large.settings.blobs / "bodies" / "0123" / "notes.txt"
    others.parent.mkdir()
    others.write_text("what somebody put there is no body of a job")
    os.utime(others, (0, 0))
    assert upkeep.erase_orphans(large.context, never) == 0
    assert len([1 for _ in large.context.blobs.keys("bodies")]) == 4


def test_bodies_of_a_batch_that_fails_and_of_a_job_that_is_refused_go_at_once(
    large: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "CHUNK_ROWS", 2)
    batch = large.submit([*rows(5), {"custom_id": "bad", "method": "POST", "url": CHAT, "body": {}}])
    read.read_batch(large.context, batch)
    assert large.batch(batch).status == "failed"
    change(large.context.database, "UPDATE budgets SET limit_usd = 0")
    with pytest.raises(BudgetExhausted):
        large.submit_now(chat("Hello"))
    change(large.context.database, "UPDATE budgets SET limit_usd = NULL")
    large.submit_now(chat("Hello"), key="once")
    large.submit_now(chat("Hello"), key="once")
    assert len([1 for _ in large.context.blobs.keys("bodies")]) == 1


def test_a_blob_store_that_is_away_holds_up_no_other_upkeep_and_its_blobs_go_later(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = put_file(stack, "doomed")
    change(stack.context.database, "UPDATE files SET expires_at = now()")

    def away(*_: object) -> None:
        raise ServiceUnavailable("The bucket does not answer.")

    with monkeypatch.context() as patched:
        for name in ("delete", "sweep"):
            patched.setattr(type(stack.context.blobs), name, away)
        change(
            stack.context.database,
            f"INSERT INTO idempotency_keys VALUES (1, 'k', '\\x00', gen_random_uuid(), now() - {OLD})",
        )
        upkeep.run(stack.context, never)
    assert [record.message for record in caplog.records if record.message == "blobs_away"] == ["blobs_away"] * 2
    assert stack.count("SELECT count(*) FROM idempotency_keys") == 0
    assert is_there(stack, key)
    upkeep.run(stack.context, never)
    assert not is_there(stack, key)


def test_a_week_past_retention_is_dropped_with_the_blobs_that_only_its_rows_named(
    large: Stack, owner: Database
) -> None:
    assert large_settings_reach_the_processes(large)
    keys = old_week(large, owner)
    upkeep.run(large.context, never)
    assert not any(name.endswith(f"{MONDAY:%Y%m%d}") for name in partitions(large))
    assert [key for key in keys if is_there(large, key)] == []
    kept = [key for (key,) in large.query("SELECT blob_key FROM files")]
    assert all(is_there(large, key) for key in kept)
    assert len(kept) == 2, "files go by their own retention"
    assert large.doctor() == [], "the results of a week that was dropped are missed by nobody"


def test_a_result_that_is_lost_from_a_week_that_is_kept_is_told(large: Stack, owner: Database) -> None:
    old_week(large, owner)
    upkeep.run(large.context, never)
    large.wait(large.submit(rows(3)))
    assert large.doctor() == []
    young = "(SELECT id FROM jobs WHERE stored_on > '2025-01-01' ORDER BY id LIMIT 1)"
    change(owner, f"DELETE FROM results WHERE job_id = {young}")
    assert [one.name for one in large.doctor()] == ["I2-result"]


def test_a_lost_result_of_last_month_is_told_while_its_week_is_there(large: Stack, owner: Database) -> None:
    old_week(large, owner)
    assert large.doctor() == []
    change(owner, "DELETE FROM results WHERE job_id = (SELECT min(id) FROM jobs)")
    assert [one.name for one in large.doctor()] == ["I2-result"]


def test_a_week_is_kept_while_a_job_of_it_or_of_an_earlier_one_is_open(large: Stack, owner: Database) -> None:
    keys = old_week(large, owner)
    before = partitions(large)
    change(owner, "UPDATE jobs SET state = 1, ended_at = NULL WHERE row_number = 1")
    upkeep.run(large.context, never)
    assert before <= partitions(large)
    assert all(is_there(large, key) for key in keys)


def test_a_backup_that_holds_the_tables_puts_the_drop_off_and_no_blob_goes_before_it(
    large: Stack, owner: Database
) -> None:
    keys = old_week(large, owner)
    before = partitions(large)
    with psycopg.connect(large.settings.require_database()) as backup:
        backup.execute("LOCK TABLE results, job_requests IN ACCESS SHARE MODE")
        began = time.monotonic()
        upkeep.run(large.context, never)
        assert time.monotonic() - began < 10
        assert before <= partitions(large)
        assert all(is_there(large, key) for key in keys)
    upkeep.run(large.context, never)
    assert len(before - partitions(large)) == 2
    assert [key for key in keys if is_there(large, key)] == []


def test_partitions_of_the_weeks_to_come_are_made_again_where_they_are_missing(stack: Stack, owner: Database) -> None:
    assert partitions(stack) == {"job_requests_rest", "results_rest"}
    upkeep.run(stack.context, never)
    before = partitions(stack)
    today = datetime.now(UTC).date()
    mondays = [today + timedelta(days=7 * week - today.weekday()) for week in range(3)]
    assert {f"results_{monday:%Y%m%d}" for monday in mondays} <= before
    change(owner, f"DROP TABLE results_{mondays[2]:%Y%m%d}")
    upkeep.run(stack.context, never)
    assert partitions(stack) == before


def test_half_written_blobs_of_killed_processes_go_after_a_day(stack: Stack) -> None:
    folder: Path = stack.settings.blobs / "inputs"
    folder.mkdir(parents=True)
    old, young = folder / ".writing-old", folder / ".writing-young"
    for path in (old, young):
        path.write_bytes(b"half")
    day_ago = time.time() - 86_500
    os.utime(old, (day_ago, day_ago))
    upkeep.run(stack.context, never)
    assert [path.name for path in folder.iterdir()] == [".writing-young"]


def test_old_events_dispatches_workers_and_idempotency_keys_are_forgotten_and_the_audit_log_is_kept(
    stack: Stack,
) -> None:
    change(
        stack.context.database,
        "INSERT INTO webhook_endpoints (public_id, tenant_id, project_id, name, url, events, secrets) "
        "VALUES (gen_random_uuid(), 1, 1, 'hook', 'https://example.com', '{}', '{}')",
        *(
            "INSERT INTO webhook_deliveries (public_id, tenant_id, endpoint_id, type, payload, created_at, next_at) "
            f"VALUES (gen_random_uuid(), 1, 1, '{kind}', '', now() - {age}, {next_at})"
            for kind, age, next_at in (("old", OLD, "NULL"), ("due", OLD, "now()"), ("young", "interval '1 day'", "NULL"))
        ),
        "INSERT INTO dispatches (tier, model, job_ids, size, claim_by, ended_at) VALUES "
        "('llm', 'old', '{}', 0, now(), now() - interval '2 hours'), ('llm', 'young', '{}', 0, now(), now())",
        "INSERT INTO workers (worker_id, model, tier, slots, host, pid, fleet_version, last_seen) VALUES "
        "(gen_random_uuid(), 'old', 'llm', 1, 'h', 1, 1, now() - interval '2 hours'), (gen_random_uuid(), 'young', 'llm', 1, 'h', 1, 1, now())",
        f"INSERT INTO idempotency_keys VALUES (1, 'old', '\\x00', gen_random_uuid(), now() - {OLD}), (1, 'young', '\\x00', gen_random_uuid(), now())",
        f"INSERT INTO refusals (task_id, code, message, created_at) VALUES ('old', 'x', '', now() - {OLD}), ('young', 'x', '', now())",
        f"INSERT INTO audit_log (tenant_id, at, actor, action, target) VALUES (1, now() - 100 * {OLD}, 'somebody', 'key.create', 'key')",
    )  # fmt: skip
    upkeep.run(stack.context, never)
    for query, left in (
        ("SELECT type FROM webhook_deliveries ORDER BY id", ["due", "young"]),
        ("SELECT model FROM dispatches", ["young"]),
        ("SELECT model FROM workers", ["young"]),
        ("SELECT key FROM idempotency_keys", ["young"]),
        ("SELECT task_id FROM refusals", ["young"]),
        ("SELECT action FROM audit_log", ["key.create"]),
    ):
        assert [row[0] for row in stack.query(query)] == left, query


def test_upkeep_that_is_told_to_stop_begins_no_further_chunk(large: Stack, owner: Database) -> None:
    keys = old_week(large, owner)
    change(large.context.database, "UPDATE files SET expires_at = now()")
    before = partitions(large)
    upkeep.run(large.context, lambda: True)
    assert before <= partitions(large)
    assert all(is_there(large, key) for key in keys)
    assert large.count("SELECT count(*) FROM files WHERE deleted_at IS NOT NULL") == 0


def test_an_orchestrator_does_the_upkeep_by_itself(stack: Stack) -> None:
    key = put_file(stack, "doomed", expires_s=0)
    stack.orchestrator()
    until(lambda: not is_there(stack, key), 20, "the expired file's blob is deleted")
