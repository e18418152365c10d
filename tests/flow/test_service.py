"""The orchestrator's loops: who is woken how often."""

from __future__ import annotations

import time
from decimal import Decimal
from uuid import uuid4

from orchestrator.flow import lease, read
from orchestrator.flow.dispatch import Dispatcher
from orchestrator.service import Service
from orchestrator.store import limits
from orchestrator.store.workers import Presence
from tests.stack import Stack, chat, row


def test_a_batch_that_a_budget_held_back_goes_on_without_a_wake_up_while_another_model_is_busy(stack: Stack) -> None:
    lease.beat(stack.context, uuid4(), [Presence("thinker", "rlm", 4, 0.1), Presence("fast", "llm", 4, 0.1)], [], [])
    batch = stack.submit([row("one", chat("Think.", model="thinker", max_tokens=10_000))])
    read.read_waiting(stack.context)
    with stack.context.database.unit_of_work(1) as session:
        limits.set_budget(session, 1, "project", 1, "total", Decimal("0.01"))
    service, dispatcher = Service(stack.context), Dispatcher(stack.context)
    service._pass_over(dispatcher, {"*"})
    assert stack.batch(batch).held_back == "budget_exhausted"
    stack.query("UPDATE budgets SET limit_usd = 100 RETURNING id")  # as a new period gives room: nobody says so
    assert "*" in stack.broker.wait_for_wake(1), "what woke everybody until now"
    passes, begun = 0, time.monotonic()
    while not stack.count("SELECT count(*) FROM jobs WHERE state = 2"):
        assert time.monotonic() < begun + 10 * stack.settings.poll_s, "the model is never looked at"
        stack.broker.wake("fast")
        service._pass_over(dispatcher, service._woken())
        passes += 1
    assert passes > 1
    assert stack.batch(batch).held_back is None


def test_wake_ups_of_one_model_look_at_that_model_alone_within_an_interval(stack: Stack) -> None:
    service = Service(stack.context)
    service._all_passed_at = time.monotonic()
    stack.broker.wake("fast")
    assert service._woken() == {"fast"}
    assert service._woken() == {"*"}, "and every one after a quiet interval"
