"""A job handed in by a Celery message: accepted once, answered by name, bounded as over HTTP."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery

from orchestrator import errors, ids
from orchestrator.flow import administer
from orchestrator.intake.messages import envelope
from orchestrator.intake.queue import Queue
from orchestrator.store.limits import Quota
from tests.intake.conftest import HOUSE, Producer
from tests.stack import OWNER, Stack, chat, until

JOBS = "SELECT count(*) FROM jobs"


def test_a_plain_celery_message_is_a_job_whose_answer_is_read_by_name(stack: Stack, producer: Producer) -> None:
    stack.orchestrator()
    stack.worker()
    stack.intake()
    sent = producer.submit(chat("Where is my order?"))
    made = producer.answer(sent)
    assert set(made) == {"id", "state"}
    assert made["state"] == "queued"
    job = producer.ask(made["id"], wait_s=30)
    assert job["state"] == "succeeded"
    assert job["result"]["choices"][0]["message"]["content"]
    assert producer.ask(f"celery:{sent.id}") == job
    stack.must_hold()


def test_a_producer_without_a_result_backend_loses_nothing(stack: Stack, producer: Producer) -> None:
    stack.intake()
    with Celery("plain", broker=stack.settings.require_redis(), set_as_current=False) as app:
        kwargs = {"key": producer.key, "body": chat("Hello"), "deadline": "2h"}
        task_id = app.send_task("rightsize.submit", kwargs=kwargs, queue="rightsize.submit").id
    job = producer.ask(f"celery:{task_id}", wait_s=2)
    assert job["expires_at"] - job["created_at"] == 7200
    assert stack.count(JOBS) == 1


def test_a_result_that_nobody_wants_is_not_stored(stack: Stack, producer: Producer) -> None:
    stack.intake()
    sent = producer.submit(ignore_result=True)
    until(lambda: stack.count(JOBS) == 1)
    stack.kill(stack.processes[-1], 15)
    assert stack.processes[-1].wait(10) == 0
    assert stack.broker.redis.keys(f"*{sent.id}*") == []


@pytest.mark.parametrize(
    "options", [{"compression": "gzip"}, {"priority": 9}, {"priority": 3}, {"countdown": 0.1}, {"expires": 60}]
)
def test_celerys_own_options_are_understood(stack: Stack, producer: Producer, options: dict[str, Any]) -> None:
    stack.intake()
    assert producer.answer(producer.submit(**options))["state"] == "queued"


def test_messages_are_taken_in_the_order_of_their_priority(stack: Stack, producer: Producer) -> None:
    for priority in (9, 0, 5):
        producer.submit(chat(f"Priority {priority}"), priority=priority, task_id=f"p{priority}")
    queue = Queue(stack.broker.redis, most_bytes=1_000_000, lease_s=2.0)
    assert [envelope(one.raw).task_id for one in queue.take(10)] == ["p0", "p5", "p9"]


def test_a_message_with_an_eta_is_no_job_before_it_is_due_and_is_not_forgotten(
    stack: Stack, producer: Producer
) -> None:
    doomed = stack.intake()
    began = time.monotonic()
    sent = producer.submit(countdown=4)
    until(lambda: stack.broker.redis.zcard("rightsize.submit.later") == 1, what="it is put off")
    stack.kill(doomed)
    stack.intake()
    assert stack.count(JOBS) == 0
    made = producer.answer(sent)
    assert time.monotonic() - began >= 3.5
    job = stack.job(ids.parse("job", made["id"]))
    assert stack.broker.redis.zcard("rightsize.submit.later") == 0
    assert job.state == 1


def test_a25_the_same_task_id_gives_one_job_also_at_once_and_another_request_is_refused(
    stack: Stack, producer: Producer
) -> None:
    stack.intake()
    stack.intake()
    sent = [producer.submit(chat("Once"), task_id="order-1041") for _ in range(40)]
    made = {producer.answer(one)["id"] for one in sent}
    until(lambda: stack.broker.redis.llen("rightsize.submit") == 0)
    producer.submit(chat("Something else"), task_id="order-1041")
    (refused,) = until(lambda: stack.query("SELECT * FROM refusals"))
    assert (refused.code, refused.tenant_id, refused.task_id) == ("idempotency_conflict", OWNER.tenant_id, "order-1041")
    assert len(made) == stack.count(JOBS) == 1
    assert stack.count("SELECT count(*) FROM idempotency_keys") == 1


def test_a25_the_same_task_id_of_another_tenant_is_another_job_that_the_first_cannot_see(
    stack: Stack, producer: Producer
) -> None:
    stack.intake()
    other = producer.of_another_tenant()
    mine = producer.answer(producer.submit(chat("Mine"), task_id="same"))
    stack.broker.redis.delete("celery-task-meta-same")
    theirs = producer.answer(producer.submit(chat("Theirs"), task_id="same", more={"key": other}))
    assert mine["id"] != theirs["id"]
    assert producer.ask("celery:same")["id"] == mine["id"]
    assert producer.ask("celery:same", key=other)["id"] == theirs["id"]
    with pytest.raises(Exception, match=f"not_found: There is no job {theirs['id']}"):
        producer.ask(theirs["id"])


def test_a25_a_task_id_of_255_characters_is_refused(stack: Stack, producer: Producer) -> None:
    stack.intake()
    producer.submit(task_id="x" * 255)
    (refused,) = until(lambda: stack.query("SELECT * FROM refusals"))
    assert (refused.code, refused.tenant_id) == ("invalid_request", None)
    assert "1 to 200" in refused.message
    assert stack.count(JOBS) == 0


def test_work_over_a_quota_waits_for_room_and_is_refused_once_its_deadline_has_passed(
    stack: Stack, producer: Producer
) -> None:
    administer.set_quota(stack.context, HOUSE, "tenant", None, Quota(60, None, None, None, None))
    bucket = f"rightsize.rate.tenant:{OWNER.tenant_id}:requests"
    stack.intake()
    stack.broker.redis.hset(bucket, mapping={"level": -1, "at": now(stack)})
    began = time.monotonic()
    assert producer.answer(producer.submit())["state"] == "queued"
    assert time.monotonic() - began > 0.5
    stack.broker.redis.hset(bucket, mapping={"level": -1000, "at": now(stack)})
    with pytest.raises(Exception, match="rate_limit_exceeded: The quota of requests a minute is used up"):
        producer.answer(producer.submit(more={"deadline": "2s"}))
    (refused,) = stack.query("SELECT * FROM refusals")
    assert (refused.code, refused.tenant_id) == ("rate_limit_exceeded", OWNER.tenant_id)
    assert stack.count(JOBS) == 1


def test_what_waits_for_jobs_is_bounded_and_holds_up_no_work(stack: Stack, producer: Producer) -> None:
    stack.intake()
    made = producer.answer(producer.submit())
    kwargs = {"key": producer.key, "id": made["id"], "wait_s": 60}
    asked = [producer.app.send_task("rightsize.result", kwargs=kwargs, queue="rightsize.submit") for _ in range(60)]
    began = time.monotonic()
    more = [producer.answer(producer.submit(chat(f"More {n}"))) for n in range(20)]
    assert time.monotonic() - began < 20
    assert len({one["id"] for one in more}) == 20
    until(lambda: sum(one.ready() for one in asked) == 60 - 48, what="those beyond the bound are answered at once")
    assert {one.result["state"] for one in asked if one.ready()} == {"queued"}


def test_a_question_that_comes_before_its_job_waits_for_it(stack: Stack, producer: Producer) -> None:
    stack.intake()
    kwargs = {"key": producer.key, "id": "celery:late", "wait_s": 20}
    asked = producer.app.send_task("rightsize.result", kwargs=kwargs, queue="rightsize.submit")
    time.sleep(0.5)
    stack.orchestrator()
    stack.worker()
    made = producer.answer(producer.submit(task_id="late"))
    found = producer.answer(asked)
    assert (found["id"], found["state"]) == (made["id"], "succeeded")
    with pytest.raises(Exception, match="not_found: No job was made"):
        producer.ask("celery:never")


def test_an_answer_beyond_its_time_comes_as_it_stands(stack: Stack, producer: Producer) -> None:
    stack.intake()
    made = producer.answer(producer.submit())
    began = time.monotonic()
    found = producer.ask(made["id"], wait_s=1.5)
    assert (found["state"], found["ended_at"], found["result"]) == ("queued", None, None)
    assert 1.4 < time.monotonic() - began < 10
    with pytest.raises(Exception, match="invalid_request: `wait_s`"):
        producer.ask(made["id"], wait_s=61)


def test_a_message_that_comes_again_gets_its_job_although_it_would_be_refused_by_now(
    stack: Stack, producer: Producer
) -> None:
    stack.intake()
    first = producer.answer(producer.submit(task_id="order-1"))
    producer.submit(task_id="order-1", expires=0.01)
    job = producer.ask("celery:order-1")
    assert job["id"] == first["id"]
    until(lambda: stack.broker.redis.llen("rightsize.submit") == 0, what="the late message is worked on")
    administer.set_quota(stack.context, HOUSE, "project", "default", Quota(tokens_per_minute=1))
    assert until(lambda: refused_as_too_large(producer), 10, "the quota is in force")
    assert producer.answer(producer.submit(task_id="order-1")) == first
    told = {row.task_id for row in stack.query("SELECT task_id FROM refusals")}
    assert told
    assert "order-1" not in told


def refused_as_too_large(producer: Producer) -> bool:
    """Whether a new request is refused for good."""
    try:
        producer.answer(producer.submit(chat("x" * 100_000)))
    except errors.InvalidRequest as error:
        return "sending it again does not help" in error.message
    return False


def now(stack: Stack) -> float:
    """The clock of Redis, to the microsecond: a bucket whose time was cut to whole seconds would fill too early."""
    seconds, micros = stack.broker.redis.time()
    return seconds + micros / 1e6
