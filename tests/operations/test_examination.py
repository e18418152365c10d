"""What the doctor says of blobs, and of what people should know though nothing is wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator import ids
from orchestrator.blobs import FolderBlobs
from orchestrator.doctor import Finding, examine
from orchestrator.doctoring import blobs
from orchestrator.settings import MIB, Settings
from orchestrator.store import files
from orchestrator.store.files import NewFile
from tests.stack import OWNER, Stack, rows

DAY_AND_MORE_S = 90_000


def found(settings: Settings, name: str) -> list[Finding]:
    """The findings of one name."""
    return [one for one in examine(settings) if one.name == name]


def change(stack: Stack, *statements: str) -> None:
    with stack.context.database.unit_of_work() as session:
        for statement in statements:
            session.execute(text(statement))


def age(stack: Stack) -> None:
    """Make everything in the blob store older than a day."""
    then = time.time() - DAY_AND_MORE_S
    for path in stack.settings.blobs.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


@pytest.fixture
def worked(settings: Settings) -> Iterator[Stack]:
    """A stack whose batch of three is done, with every body and every result in the blob store; nothing runs any more."""
    given = settings.model_copy(update={"inline_body_bytes": 0})
    with Stack(given) as stack:
        stack.orchestrator()
        stack.worker()
        stack.wait(stack.submit(rows(3)))
    with Stack(given) as stack:
        yield stack


def test_each_blob_of_a_finished_batch_is_known(worked: Stack) -> None:
    age(worked)
    (orphans,) = found(worked.settings, "orphans")
    assert orphans == Finding(
        "orphans", True, "each of the 8 blobs that were looked at is known, or younger than a day"
    )
    (told,) = found(worked.settings, "files")
    assert told == Finding("files", True, "each of the 2 files that were looked at has its blob")


def test_blobs_that_no_row_knows_are_told_once_they_are_older_than_a_day(worked: Stack) -> None:
    hexadecimal = ids.uuid7().hex
    keys = [
        f"inputs/{hexadecimal}", f"batches/{hexadecimal}/output.jsonl", f"bodies/{hexadecimal[:8]}/{hexadecimal}",
        f"results/{hexadecimal[:8]}/{hexadecimal}-7", "results/strange/name",
    ]  # fmt: skip
    (known,) = worked.query("SELECT r.blob_key FROM results r LIMIT 1")
    keys.append(f"{known.blob_key}9")  # another dispatch's result of a job that has one
    for key in keys:
        worked.context.blobs.put(key, b"x" * MIB)
    assert "known, or younger than a day" in found(worked.settings, "orphans")[0].detail
    age(worked)
    (told,) = found(worked.settings, "orphans")
    assert told.holds
    assert told.detail.startswith("6 of the 14 blobs that were looked at are known to no row (6 MiB), such as inputs/")
    assert " and 1 more. They harm nobody" in told.detail
    for key in keys:
        worked.context.blobs.delete(key)
    assert "each of the 8 blobs" in found(worked.settings, "orphans")[0].detail


def test_no_more_blobs_are_looked_at_than_the_bound_and_it_is_said_how_many(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        stack.context.blobs.put(f"inputs/{number}", b"x")
    age(stack)
    monkeypatch.setattr(blobs, "MOST_OF_KIND", 4)
    (told,) = found(stack.settings, "orphans")
    assert told.detail.startswith("4 of the 4 blobs that were looked at")


def test_a_file_whose_blob_is_gone_is_a_fault_that_names_it_until_it_is_deleted(stack: Stack) -> None:
    key, public_id = f"inputs/{ids.uuid7().hex}", ids.uuid7()
    with stack.context.database.unit_of_work() as session:
        files.add(session, OWNER, public_id, NewFile("user_data", "a", 1, key))
    (told,) = found(stack.settings, "files")
    assert not told.holds
    assert ids.public("file", public_id) in told.detail
    assert "Restore them from a backup" in told.detail
    for gone in ("expires_at = now()", "expires_at = NULL, deleted_at = now()"):
        change(stack, f"UPDATE files SET {gone}")
        assert [one.holds for one in found(stack.settings, "files")] == [True]


def test_half_written_blobs_of_killed_processes_are_removed_and_told(stack: Stack) -> None:
    folder: Path = stack.settings.blobs / "inputs"
    folder.mkdir(parents=True)
    (folder / ".writing-x").write_bytes(b"half")
    assert found(stack.settings, "interrupted") == []
    age(stack)
    (told,) = found(stack.settings, "interrupted")
    assert told == Finding("interrupted", True, "removed 1 half-written blobs of killed processes")
    assert found(stack.settings, "interrupted") == []


@pytest.mark.parametrize("free_bytes, holds", [(3_000 * MIB, None), (1_000 * MIB, True), (20 * MIB, False)])
def test_a_disk_that_fills_is_told_and_one_that_is_full_is_a_fault(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, free_bytes: int, holds: bool | None
) -> None:
    monkeypatch.setattr(FolderBlobs, "free_bytes", lambda self: free_bytes)
    told = found(stack.settings, "disk")
    assert [one.holds for one in told] == ([] if holds is None else [holds])
    assert all(f"{free_bytes // MIB} MiB left" in one.detail for one in told)


def test_a_blob_store_that_cannot_be_used_is_one_fault_and_no_traceback(stack: Stack) -> None:
    stack.settings.blobs.write_bytes(b"no folder")
    told = [one for one in examine(stack.settings) if one.name in ("blobs", "orphans", "files", "disk")]
    assert [(one.name, one.holds) for one in told] == [("blobs", False)]


@pytest.mark.parametrize(
    "name, says, statements",
    [
        ("expiring keys", "1 API keys expire within a week: default key_",
         ["INSERT INTO api_keys (public_id, tenant_id, project_id, name, hash, expires_at) VALUES "
          "(gen_random_uuid(), 1, 1, '[/soon]', '1', now() + interval '6 days'), (gen_random_uuid(), 1, 1, 'later', '2', now() + interval '8 days'), "
          "(gen_random_uuid(), 1, 1, 'past', '3', now() - interval '1 day')"]),
        ("dead webhooks", "1 webhook endpoints did not take events of the last week, which are sent no more: default we_",
         ["INSERT INTO webhook_endpoints (public_id, tenant_id, project_id, name, url, events, secrets) "
          "VALUES (gen_random_uuid(), 1, 1, 'hook', 'https://example.com', '{}', '{}')",
          "INSERT INTO webhook_deliveries (public_id, tenant_id, endpoint_id, type, payload, next_at, dead_at, last_code) VALUES "
          "(gen_random_uuid(), 1, 1, 'x', '', NULL, now(), 'http_500'), (gen_random_uuid(), 1, 1, 'x', '', NULL, now(), 'http_500'), "
          "(gen_random_uuid(), 1, 1, 'x', '', NULL, now() - interval '8 days', 'http_500')"]),
        ("budgets", "2 budgets are used up, or have refused work in their period: default project default total $3, default tenant month $2.5. ",
         ["UPDATE budgets SET limit_usd = 3, refused_at = now() WHERE scope = 'project'",
          "INSERT INTO budgets (tenant_id, scope, scope_id, period, limit_usd, spent_usd, held_usd, period_start) VALUES "
          "(1, 'tenant', 1, 'month', 2.5, 2, 0.5, date_trunc('month', now(), 'UTC')), (1, 'tenant', 1, 'day', 1, 1, 0, '2020-01-01'), "
          "(1, 'tenant', 1, 'total', 9, 1, 1, '-infinity'), (1, 'batch', 1, 'total', 1, 1, 0, '-infinity')"]),
        ("paused", "1 batches are paused: nothing of them is begun until somebody resumes them: batch_",
         ["UPDATE batches SET paused_at = now()"]),
        ("held back", "1 batches are held back: batch_",
         ["UPDATE batches SET held_back = 'budget_exhausted', status = 'in_progress'"]),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)  # fmt: skip
def test_what_people_should_know_is_told_and_is_no_fault(
    stack: Stack, name: str, says: str, statements: list[str]
) -> None:
    stack.submit(rows(1))
    assert found(stack.settings, name) == []
    change(stack, *statements)
    (told,) = found(stack.settings, name)
    assert told.holds
    assert told.detail.startswith(says)


def test_a_batch_that_nobody_reads_is_a_fault(stack: Stack) -> None:
    batch = stack.submit(rows(1))
    assert found(stack.settings, "unread") == []
    change(stack, "UPDATE batches SET created_at = now() - interval '11 minutes'")
    (told,) = found(stack.settings, "unread")
    assert not told.holds
    assert ids.public("batch", stack.batch(batch).public_id) in told.detail
    assert "Is an orchestrator running" in told.detail
