"""What a model is given before anybody has measured it: what its slots hold, and more as it is seen to end more."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import text

from orchestrator.fairness import Pace
from orchestrator.flow import lease, read
from orchestrator.flow.dispatch import Dispatcher
from orchestrator.store.workers import Presence
from tests.stack import Stack, rows

OUTSTANDING = "SELECT coalesce(sum(size), 0) FROM dispatches WHERE ended_at IS NULL"


def test_a_model_that_nobody_has_measured_is_not_trusted_to_be_as_quick_as_the_fleet_says(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "look", lambda pace, outstanding, now: ended / 1.0)
    ended = 0.0
    stack.submit(rows(3_000))
    read.read_waiting(stack.context)
    worker, fast = uuid4(), stack.context.config.fleet.named("fast")
    lease.beat(stack.context, worker, [Presence("fast", "llm", 32, None)], [], [])
    dispatcher = Dispatcher(stack.context)
    dispatcher.pass_over(fast)
    assert stack.count(OUTSTANDING) == 40, "a quarter more than its slots, where the fleet's 10 ms would make 1,600"
    ended = 400.0
    dispatcher.pass_over(fast)
    assert 700 <= stack.count(OUTSTANDING) <= 800
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE workers SET latency_s = 0.01"))
    dispatcher.pass_over(fast)
    assert 1_500 <= stack.count(OUTSTANDING) <= 1_600
