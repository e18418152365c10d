"""Streams along the whole path: real servers and workers, and a reader of the raw Redis stream in the place of the API."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from sqlalchemy import Row

from orchestrator.flow import cancel
from orchestrator.settings import Settings
from tests.stack import OWNER, Stack, chat, until
from tests.workers.reading import Read, entries, held, read, take

SENTENCE = "This answer is simulated: no model has read the request."
CHARGES = (
    "SELECT amount_usd FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE j.public_id = :job AND t.kind = 'charge'"
)
ATTEMPTS = "SELECT outcome, output_tokens, simulated, model_revision FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.public_id = :job"
FAST = 0.001
"""What a request costs at the least."""


@pytest.fixture
def running(stack: Stack) -> Stack:
    stack.orchestrator()
    stack.worker()
    return stack


def submitted(stack: Stack, text: str = "Hello", **body: Any) -> tuple[Row[Any], str]:
    """A job whose answer streams, and its public id as Redis knows it."""
    job = stack.submit_now(chat(text, stream=True, **body))
    return job, job.public_id.hex


def until_said(
    server: redis.Redis, name: str, pieces: int = 1
) -> tuple[Read, Iterator[tuple[str, dict[bytes, bytes]]]]:
    """The first pieces, and the rest of the stream."""
    told, rest = Read(), entries(server, name)
    while len(told.pieces) < pieces:
        take(told, *next(rest))
    return told, rest


def test_an_answer_comes_in_pieces_and_its_end_comes_last(running: Stack) -> None:
    names = [submitted(running, f"Hello {number}")[1] for number in range(12)]
    for name in names:
        told = read(running.broker.redis, name)
        assert told.last == [False] * len(told.pieces) + [True]
        assert told.text == SENTENCE == told.body["choices"][0]["message"]["content"]
        assert told.whole()[0]["finish_reason"] == "stop"
        assert (told.end["kind"], told.end["attempt"], told.end["status"]) == ("succeeded", "1", "200")
        assert told.body["model"] == "fast"
        assert told.pieces[-1]["usage"]["completion_tokens"] == told.body["usage"]["completion_tokens"]
    running.must_hold()


def test_the_first_piece_is_there_long_before_the_last(running: Stack) -> None:
    began = time.monotonic()
    _, name = submitted(running, "[[sleep:2]] Hello")
    _, rest = until_said(running.broker.redis, name)
    first_s = time.monotonic() - began
    list(rest)
    assert first_s < 1.2 < time.monotonic() - began


def test_what_is_checked_as_a_whole_comes_as_one_piece(running: Stack) -> None:
    form = {"response_format": {"type": "json_object"}}
    for body in ({"rightsize": {"samples": 3}}, form):
        _, name = submitted(running, **body)
        told = read(running.broker.redis, name)
        assert len(told.pieces) == 1
        assert told.text == told.body["choices"][0]["message"]["content"]


def test_a_cut_stream_is_stopped_recorded_as_far_as_it_came_and_charged_once(running: Stack) -> None:
    job, name = submitted(running, "[[sleep:10]] Hello")
    told, rest = until_said(running.broker.redis, name, 2)
    began = time.monotonic()
    running.broker.cut(name)
    for entry in rest:
        take(told, *entry)
    assert time.monotonic() - began < 2
    assert told.end["kind"] == "succeeded"
    assert told.body["rightsize_cut"] == {"estimated_usage": False}
    choice = told.body["choices"][0]
    assert choice["finish_reason"] == "abort"
    assert SENTENCE.startswith(choice["message"]["content"])
    assert choice["message"]["content"] == told.text
    row = running.wait_job(job.public_id)
    assert row.state == 10
    running.broker.cut(name)
    ((charge,),) = running.query(CHARGES, job=job.public_id)
    assert float(charge) == pytest.approx(FAST + (told.body["usage"]["prompt_tokens"] + 2 * told.body["usage"]["completion_tokens"]) * 1e-6)  # fmt: skip
    (attempt,) = running.query(ATTEMPTS, job=job.public_id)
    assert attempt == ("succeeded", told.body["usage"]["completion_tokens"], True, "simulated")
    assert 0 < attempt.output_tokens < 14
    running.must_hold()


def test_a_cut_of_a_job_that_has_said_nothing_drops_it_and_frees_its_slot(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("rlm")  # four slots
    jobs = [submitted(stack, "[[fail:hang]] Hello", model="rlm") for _ in range(4)]
    open_ = "SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL"
    until(lambda: stack.count(open_) == 4)
    for job, name in jobs:
        cancel.cancel_job(stack.context, OWNER, job.public_id)
        stack.broker.cut(name)
    began = time.monotonic()
    until(lambda: stack.count(open_) == 0, 2)
    _, name = submitted(stack, "Hello", model="rlm")
    assert read(stack.broker.redis, name, 5).end["kind"] == "succeeded"
    assert time.monotonic() - began < 3
    for job, name in jobs:
        assert stack.job(job.public_id).state != 10
        assert held(stack.broker.redis, name).ids == []
        assert stack.query(CHARGES, job=job.public_id) == []
    stack.must_hold()


def test_a_cancelled_single_job_leaves_the_engine_within_two_seconds_though_no_cut_is_heard(settings: Settings) -> None:
    slow = settings.model_copy(update={"heartbeat_s": 20.0, "lease_s": 60.0})
    with Stack(slow) as stack:
        stack.broker.redis.flushdb()
        stack.orchestrator()
        stack.worker()
        job, name = submitted(stack, "[[sleep:15]] Hello")
        until_said(stack.broker.redis, name)
        cancel.cancel_job(stack.context, OWNER, job.public_id)
        until(lambda: not stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL"), 4, "it is let go")
        stack.must_hold()


def test_a_stream_that_breaks_off_after_a_piece_fails_and_one_before_it_is_tried_again(running: Stack) -> None:
    job, name = submitted(running, "[[fail:cut]] Hello")
    told = read(running.broker.redis, name)
    assert told.pieces
    assert set(told.attempts) == {1}
    assert (told.end["kind"], told.end["code"]) == ("failed", "stream_broken")
    assert "cut_stream" in told.end["message"]
    assert running.job(job.public_id).fault_code == "stream_broken"
    _, name = submitted(running, "[[fail:500:1]] Hello")
    told = read(running.broker.redis, name)
    assert (told.end["kind"], told.end["attempt"], set(told.attempts)) == ("succeeded", "2", {2})
    assert told.ids[0] == "2-0"
    running.must_hold()


def test_a_worker_that_dies_in_the_midst_is_recovered_and_the_next_attempt_tells_anew(stack: Stack) -> None:
    stack.orchestrator()
    doomed = stack.worker()
    _, name = submitted(stack, "[[sleep:2]] Hello")
    told, rest = until_said(stack.broker.redis, name)
    stack.kill(doomed)
    stack.worker()
    for entry in rest:
        take(told, *entry)
    again = [piece for piece, attempt in zip(told.pieces, told.attempts, strict=True) if attempt == 2]
    assert sorted(set(told.attempts)) == [1, 2]
    assert (told.end["kind"], told.end["attempt"]) == ("succeeded", "2")
    assert Read(pieces=again).text == SENTENCE
    stack.must_hold()


def test_a_worker_that_is_stopped_in_order_breaks_a_stream_off_and_gives_back_what_has_said_nothing(
    stack: Stack,
) -> None:
    stack.orchestrator()
    worker = stack.worker("rlm")
    _, begun = submitted(stack, "[[sleep:10]] Hello", model="rlm")
    until_said(stack.broker.redis, begun)
    silent, _ = submitted(stack, "[[fail:hang]] Hello", model="rlm")
    until(lambda: stack.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL") == 2)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    told = read(stack.broker.redis, begun, 5)
    assert (told.end["kind"], told.end["code"], told.end["status"]) == ("failed", "stream_broken", "503")
    row = stack.job(silent.public_id)
    assert (row.attempts, row.fault_code) == (0, None), "given back, uncounted"
    cancel.cancel_job(stack.context, OWNER, silent.public_id)
    stack.must_hold()


def test_a_redis_that_loses_its_connections_costs_pieces_and_no_job(running: Stack) -> None:
    job, name = submitted(running, "[[sleep:1]] Hello")
    until_said(running.broker.redis, name)
    server = running.broker.redis
    server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert running.wait_job(job.public_id).state == 10
    told = held(server, name)
    assert SENTENCE.startswith(told.text)
    again, name = submitted(running, "[[sleep:10]] Hello")
    until_said(server, name)
    until(lambda: running.broker.cut(name) or running.job(again.public_id).state == 10, 10, "the worker hears again")
    running.must_hold()
