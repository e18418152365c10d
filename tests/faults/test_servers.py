"""Servers that lose everything, die or go away while work runs."""

from __future__ import annotations

import os
import signal
import time

import pytest

from orchestrator.settings import Settings
from tests import own_servers
from tests.stack import Stack, rows, until

KILLS = 20
RUN = "SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.batch_id = :batch"


def test_f9_a_flushed_redis_in_the_middle_of_a_run_loses_nothing(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit(rows(300, "[[sleep:0.2]] Where is my order?"))
    stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 20)
    stack.broker.redis.flushdb()
    assert stack.wait(batch).final["completed"] == 300
    stack.must_hold(batch, 300)


def test_f9_messages_that_vanished_are_sent_again_within_the_bound(stack: Stack) -> None:
    job = stack.submit_now({"messages": [{"role": "user", "content": "Hello"}]})
    worker = stack.worker()
    stack.orchestrator()
    stack.wait_job(job.public_id)
    stack.wait(stack.submit(rows(1)))  # it reads the queue of batches as well by now
    stack.kill(worker, signal.SIGSTOP)
    batch = stack.submit(rows(40))  # for as long as its presence lasts the worker is sent work
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NULL AND ended_at IS NULL") > 0)
    until(lambda: stack.broker.redis.llen("rightsize.llm") > 0, what="messages wait")
    stack.broker.redis.flushdb()
    assert stack.broker.redis.llen("rightsize.llm") == 0
    worker.send_signal(signal.SIGCONT)
    pace, began = stack.settings, time.monotonic()
    assert stack.wait(batch).final["completed"] == 40
    # Kombu looks for a lost queue by itself; the recovery pass is what fills it again.
    assert time.monotonic() - began < pace.claim_by_s + pace.lease_s + 4 * pace.recover_every_s + 5
    stack.must_hold(batch, 40)


@pytest.mark.slow
def test_f10_a_redis_killed_twenty_times_loses_nothing_also_where_it_comes_back_empty(settings: Settings) -> None:
    given = {**settings.model_dump(exclude_unset=True), "claim_by_s": 0.4, "recover_every_s": 0.2}
    with own_servers.valkey() as valkey, Stack(Settings.load({**given, "redis_url": valkey.url})) as stack:
        stack.orchestrator()
        worker = stack.worker()
        made: list[int] = []
        for round_ in range(KILLS):
            made.append(stack.submit(rows(40, "[[sleep:0.1]] Where is my order?")))
            until(lambda: stack.count(RUN, batch=made[-1]) > 0, what="messages arrive after the last kill")
            # Celery waits two seconds once it was refused; a worker that is stopped meanwhile finds the server back.
            stopped = round_ % 5 > 0
            if stopped:
                stack.kill(worker, signal.SIGSTOP)
            valkey.kill(forget=bool(round_ % 2))
            if stopped:
                stack.kill(worker, signal.SIGCONT)
        for batch in made:
            assert stack.wait(batch, 60).final["completed"] == 40
            stack.must_hold(batch, 40)


def test_f17_a_postgres_killed_in_the_middle_keeps_what_was_committed(own_stack: Stack) -> None:
    stack = own_stack
    stack.orchestrator()
    batch = stack.submit(rows(300, "[[sleep:0.3]] Where is my order?"))
    stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 30)
    before = _pid(stack, "postgres")
    os.kill(before, signal.SIGKILL)
    until(lambda: _pid(stack, "postgres") not in (before, 0), what="postgres is back")
    assert stack.wait(batch, 90).final["completed"] == 300
    stack.must_hold(batch, 300)


def _pid(stack: Stack, name: str) -> int:
    """The pid of one of the instance's servers, 0 while it has none."""
    assert stack.instance is not None
    found = stack.instance.state.part(name)
    return found.pid if found is not None and found.pid and found.state == "ready" else 0
