"""Intakes that die or freeze, and servers that go away: every message makes its job, and makes it once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from orchestrator import ids
from orchestrator.settings import Settings
from tests import own_servers
from tests.intake.conftest import Producer, produced
from tests.intake.test_messages import message
from tests.stack import Stack, chat, until

JOBS = "SELECT count(*) FROM jobs"
KEYS = "SELECT count(*) FROM idempotency_keys WHERE key LIKE 'celery:%'"
MANY = 600
KILLS = 12


@pytest.fixture
def own_producer(own_stack: Stack) -> Iterator[Producer]:
    """A producer on servers that a test may harm."""
    with produced(own_stack) as made:
        yield made


@pytest.mark.parametrize("point", ["submit.before_commit", "submit.after_commit"])
def test_an_intake_killed_at_either_side_of_the_commit_makes_one_job_of_a_message(
    stack: Stack, producer: Producer, point: str
) -> None:
    doomed = stack.intake(crash_at=f"{point}:kill")
    sent = producer.submit()
    assert doomed.wait(20) == -signal.SIGKILL
    assert stack.count(JOBS) == (1 if point == "submit.after_commit" else 0)
    assert len(taken(stack)) == 1
    stack.intake()
    made = producer.answer(sent)
    assert stack.count(JOBS) == 1
    assert stack.job(ids.parse("job", made["id"])).state == 1
    until(lambda: taken(stack) == [], what="the message is done with")
    assert stack.count("SELECT count(*) FROM refusals") == 0
    stack.must_hold()


@pytest.mark.slow
@pytest.mark.fault
def test_f8_intakes_killed_again_and_again_lose_no_message_and_double_none(stack: Stack, producer: Producer) -> None:
    chance = random.Random(7)
    intakes = [stack.intake(), stack.intake()]
    sent = 0
    for kill in range(KILLS):
        for _ in range(MANY // KILLS):
            producer.submit(chat(f"Number {sent}"), task_id=f"many-{sent}", ignore_result=True)
            sent += 1
        time.sleep(chance.uniform(0.0, 0.1))
        stack.kill(intakes[kill % 2])
        intakes[kill % 2] = stack.intake(ready=kill % 3 == 0)
    until(lambda: stack.count(JOBS) >= MANY, 60, "all are jobs")
    until(lambda: not taken(stack) and stack.broker.redis.llen("rightsize.submit") == 0, what="nothing is left")
    assert stack.count(JOBS) == stack.count(KEYS) == MANY
    assert stack.count("SELECT count(*) FROM refusals") == 0
    stack.must_hold()


def test_f6_an_intake_that_slept_past_its_lease_doubles_nothing(stack: Stack, producer: Producer) -> None:
    sleeper = stack.intake(crash_at="submit.before_commit:stop")
    sent = producer.submit()
    until(lambda: Path(f"/proc/{sleeper.pid}/stat").read_text().split()[2] == "T", what="it stands in the transaction")
    stack.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' AND pid <> pg_backend_pid() "
        "AND datname = current_database()"
    )
    stack.intake()
    made = producer.answer(sent)
    stack.kill(sleeper, signal.SIGCONT)
    until(lambda: taken(stack) == [], what="both are done with it")
    second = producer.answer(producer.submit(chat("After"), task_id="after"))
    assert second["id"] != made["id"]
    assert stack.count(JOBS) == stack.count(KEYS) == 2
    assert sleeper.poll() is None
    stack.must_hold()


def test_an_intake_that_is_told_to_stop_gives_back_what_waits(stack: Stack, producer: Producer) -> None:
    leaving = stack.intake()
    made = producer.answer(producer.submit())
    kwargs = {"key": producer.key, "id": made["id"], "wait_s": 60}
    asked = producer.app.send_task("rightsize.result", kwargs=kwargs, queue="rightsize.submit")
    until(lambda: len(taken(stack)) == 1, what="it waits")
    stack.kill(leaving, signal.SIGTERM)
    assert leaving.wait(10) == 0
    assert (taken(stack), stack.broker.redis.llen("rightsize.submit")) == ([], 1)
    assert stack.broker.redis.zcard("rightsize.submit.intakes") == 0
    stack.intake()
    stack.orchestrator()
    stack.worker()
    assert producer.answer(asked)["state"] == "succeeded"


@pytest.mark.fault
def test_f17_a_postgres_that_dies_while_messages_come_loses_none(own_stack: Stack, own_producer: Producer) -> None:
    stack = own_stack
    intake = stack.intake()
    first = own_producer.answer(own_producer.submit(task_id="first"))
    before = pid_of(stack, "postgres")
    os.kill(before, signal.SIGKILL)
    sent = [own_producer.submit(chat(f"Number {number}"), task_id=f"away-{number}") for number in range(200)]
    until(lambda: pid_of(stack, "postgres") not in (before, 0), what="postgres is back")
    made = {own_producer.answer(one)["id"] for one in sent}
    assert len(made | {first["id"]}) == 201
    assert stack.count(JOBS) == stack.count(KEYS) == 201
    assert stack.count("SELECT count(*) FROM refusals") == 0
    assert intake.poll() is None
    until(lambda: taken(stack) == [])
    stack.must_hold()


@pytest.mark.fault
def test_f17_a_postgres_that_is_away_for_seconds_is_waited_for(own_stack: Stack, own_producer: Producer) -> None:
    stack = own_stack
    intake = stack.intake()
    client = stack.broker.redis
    server = pid_of(stack, "postgres")
    children = [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]
    for pid in (server, *children):
        os.kill(pid, signal.SIGSTOP)
    try:
        sent = [own_producer.submit(chat(f"Number {number}"), task_id=f"frozen-{number}") for number in range(100)]
        time.sleep(3)
        assert client.llen("rightsize.submit") + len(taken(stack)) == 100
    finally:
        for pid in (*children, server):
            os.kill(pid, signal.SIGCONT)
    assert len({own_producer.answer(one)["id"] for one in sent}) == 100
    assert stack.count(JOBS) == 100
    assert intake.poll() is None
    stack.must_hold()


def test_f9_after_a_flush_of_redis_messages_find_the_queue_again(stack: Stack, producer: Producer) -> None:
    intake = stack.intake()
    producer.answer(producer.submit())
    stack.broker.redis.flushdb()
    until(lambda: is_bound(stack), what="the queue is bound again")
    assert producer.answer(producer.submit(chat("Again")))["state"] == "queued"
    assert intake.poll() is None


@pytest.mark.fault
def test_f10_a_redis_that_dies_is_waited_for_and_what_it_kept_is_worked_on(settings: Settings) -> None:
    with own_servers.valkey() as valkey:
        given = {**settings.model_dump(exclude_unset=True), "redis_url": valkey.url}
        with Stack(Settings.load(given)) as stack:
            intake = stack.intake()
            with produced(stack) as producer:
                producer.answer(producer.submit(task_id="before"))
                stack.kill(intake, signal.SIGSTOP)
                for number in range(20):
                    producer.submit(chat(f"Number {number}"), task_id=f"kept-{number}", ignore_result=True)
                time.sleep(1.2)  # appendfsync is everysec
                valkey.kill(forget=False)
            stack.kill(intake, signal.SIGCONT)
            until(lambda: stack.count(JOBS) == 21, what="all are jobs")
            valkey.kill(forget=True)
            until(lambda: is_bound(stack), what="the queue is bound again")
            with produced(stack) as again:
                assert again.answer(again.submit(chat("Empty"), task_id="empty"))["state"] == "queued"
            assert intake.poll() is None
            assert stack.count(JOBS) == stack.count(KEYS) == 22
            stack.must_hold()


def test_an_answer_of_redis_that_was_lost_leaves_no_message_behind(stack: Stack, producer: Producer) -> None:
    stack.intake()
    producer.answer(producer.submit(task_id="first"))
    (intake,) = stack.broker.redis.zrange("rightsize.submit.intakes", 0, -1)
    raw = message([[], {"key": producer.key, "body": chat("Stray")}, {}], {"id": "stray"})
    # As if a look had taken it whose answer never came.
    stack.broker.redis.hset(f"rightsize.submit.taken.{intake.decode()}", "1:0", raw)
    until(lambda: stack.count(JOBS) == 2, what="it is put back and worked on")
    until(lambda: taken(stack) == [])


def taken(stack: Stack) -> list[bytes]:
    """The messages that intakes have in hand."""
    client = stack.broker.redis
    return [raw for key in client.scan_iter("rightsize.submit.taken.*") for raw in client.hvals(key)]


def is_bound(stack: Stack) -> bool:
    """Whether producers find the queue; False while Redis is away."""
    with suppress(redis.RedisError):
        return bool(stack.broker.redis.exists("_kombu.binding.rightsize.submit"))
    return False


def pid_of(stack: Stack, name: str) -> int:
    """The pid of one of the instance's servers, 0 while it is not ready."""
    assert stack.instance is not None
    found = stack.instance.state.part(name)
    return found.pid if found is not None and found.pid and found.state == "ready" else 0
