"""What a quota has no room for: put off where room comes, refused for good where it never does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import InvalidRequest, OverQuota, TooLarge
from orchestrator.flow import quotas, read
from orchestrator.flow.gather import accept_all
from orchestrator.flow.submit import Submitted
from orchestrator.store import limits
from orchestrator.store.limits import Quota
from orchestrator.store.session import Database
from tests.flow.test_gather import asked, kinds
from tests.stack import OWNER, Stack, rows


def test_what_is_looked_up_within_a_submission_needs_no_second_connection(stack: Stack) -> None:
    """A pool whose every connection waited for one more stood still under load."""
    prepared = asked(stack.context)
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, "project", 1, Quota(jobs_queued=1))
    narrow = Database(stack.settings, "app", connections=1)
    narrow.engine.pool._timeout = 2
    alone = replace(stack.context, database=narrow, house=narrow, _quotas={})
    try:
        assert kinds(accept_all(alone, OWNER, [prepared])) == [Submitted]
        alone._quotas.clear()
        assert kinds(accept_all(alone, OWNER, [asked(stack.context), asked(stack.context)])) == [OverQuota, OverQuota]
    finally:
        narrow.close()
    stack.must_hold()


def test_what_no_quota_has_room_for_is_refused_for_good(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, "key", 1, Quota(tokens_per_minute=1_000, jobs_queued=2, file_bytes=10))
    with pytest.raises(InvalidRequest, match="1000 a minute are allowed"):
        quotas.take(stack.context, OWNER, 1_001)
    with stack.context.database.unit_of_work() as session:
        with pytest.raises(InvalidRequest, match="would add 3 jobs"):
            quotas.check_jobs_queued(stack.context, session, OWNER, 3)
        with pytest.raises(TooLarge, match="may keep 10"):
            quotas.check_file_bytes(session, OWNER, 11)
    batch = stack.submit(rows(3))
    read.read_waiting(stack.context)
    assert stack.batch(batch).errors["data"][0]["code"] == "invalid_request"
    assert quotas.take(stack.context, OWNER, 1_000)["x-ratelimit-remaining-tokens"] == "0"


def test_a_batch_counts_once_to_the_jobs_that_may_be_open(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, "project", 1, Quota(jobs_queued=5))
    fits = stack.submit(rows(5))
    read.read_waiting(stack.context)
    assert stack.batch(fits).status == "in_progress"
    another = stack.submit(rows(1))
    read.read_waiting(stack.context)
    (told,) = stack.batch(another).errors["data"]
    assert "has 5 jobs that have not ended, and may have 5; this would add 1" in told["message"]
    large = stack.submit(rows(6))
    read.read_waiting(stack.context)
    (told,) = stack.batch(large).errors["data"]
    assert "This would add 6 jobs" in told["message"]
    stack.must_hold()


def test_a_row_that_fails_at_birth_takes_no_place_of_an_open_job(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, "project", 1, Quota(jobs_queued=2))
    batch = stack.submit([*rows(2), b"no JSON", b"{}"], hints={"on_invalid_row": "report"})
    read.read_waiting(stack.context)
    assert stack.batch(batch).status == "in_progress"
    stack.must_hold()
