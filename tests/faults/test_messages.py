"""Messages that come twice, too early, too late or for nothing; cancels that race with everything."""

from __future__ import annotations

from orchestrator.contracts import JobState
from orchestrator.flow import cancel
from tests.stack import OWNER, Stack, chat, rows, until


def test_f15_one_message_delivered_a_hundred_times_runs_its_job_once(stack: Stack) -> None:
    stack.worker()
    job = stack.submit_now(chat("Hello"))
    for _ in range(100):
        stack.broker.publish("rightsize.llm.now", job.dispatch_id)
    stack.wait_job(job.public_id)
    stack.broker.publish("rightsize.llm.now", job.dispatch_id)
    until(lambda: stack.broker.redis.llen("rightsize.llm.now") == 0)
    assert stack.count("SELECT count(*) FROM attempts") == 1
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 1
    stack.must_hold()


def test_f16_a_message_for_nothing_yet_and_for_a_cancelled_job_runs_nothing(stack: Stack) -> None:
    job = stack.submit_now(chat("Hello"))
    cancel.cancel_job(stack.context, OWNER, job.public_id)
    stack.worker()
    stack.broker.publish("rightsize.llm.now", job.dispatch_id + 1000)
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0)
    assert stack.job(job.public_id).state == JobState.CANCELLED
    assert stack.count("SELECT count(*) FROM attempts") == 0
    stack.must_hold()


def test_f29_a_batch_cancelled_half_way_ends_with_one_state_a_job(stack: Stack) -> None:
    stack.orchestrator()
    batch = stack.submit(rows(400, "[[sleep:0.1]] Where is my order?"))
    stack.worker()
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 100)
    cancel.cancel_batch(stack.context, OWNER, stack.batch(batch).public_id)
    ended = stack.wait(batch)
    assert ended.status == "cancelled"
    states = ended.final["states"]
    assert set(states) == {"succeeded", "cancelled"}
    assert sum(states.values()) == 400
    stack.must_hold(batch, 400)


def test_the_same_idempotency_key_gives_the_same_batch(stack: Stack) -> None:
    job = stack.submit_now(chat("Hello"), key="once")
    again = stack.submit_now(chat("Hello"), key="once")
    assert job.public_id == again.public_id
    assert stack.count("SELECT count(*) FROM jobs") == 1
