"""The way back of whole answers: one stream for a process, and the row for whoever its stream does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from orchestrator import ids
from orchestrator.api import app
from orchestrator.api.answers import READ_AT_ONCE, Answers, Reply
from orchestrator.broker import MOST_REPLY_BYTES, Broker
from tests.serving import serve
from tests.stack import Stack, chat, until

SOON_S = 5.0
TOLD = {"status": b"200", "attempt": b"1", "cost_usd": b"0.5", "simulated": b"1"}


def reply_with(body: bytes) -> dict[str, bytes]:
    return {**TOLD, "body": body}


def with_answers(stack: Stack, body: Callable[[Answers, Broker], Awaitable[None]]) -> None:
    async def run() -> None:
        answers = Answers(stack.settings)
        try:
            await body(answers, stack.broker)
        finally:
            await answers.close()

    asyncio.run(run())


def test_an_answer_that_is_back_before_anybody_waits_is_kept_for_the_one_who_expects_it(stack: Stack) -> None:
    async def body(answers: Answers, broker: Broker) -> None:
        early, other = ids.uuid7(), ids.uuid7()
        answers.expect(early)
        answers.expect(other)
        broker.send_answers([(early.hex, answers.address, reply_with(b'{"a": 1}'))])
        assert await answers.wait(other, 1.0) is None
        assert await answers.wait(early, 0.001) == Reply(b'{"a": 1}', 1, "0.5", simulated=True)

    with_answers(stack, body)


def test_an_answer_too_large_for_the_stream_sends_its_caller_to_the_row_at_once(stack: Stack) -> None:
    async def body(answers: Answers, broker: Broker) -> None:
        large = ids.uuid7()
        answers.expect(large)
        broker.send_answers([(large.hex, answers.address, reply_with(b"x" * (MOST_REPLY_BYTES + 1)))])
        async with asyncio.timeout(SOON_S):
            assert await answers.wait(large, 10 * SOON_S) is None
        held: Any = broker.redis.memory_usage(answers.address)
        assert held < MOST_REPLY_BYTES

    with_answers(stack, body)


def test_what_was_read_does_not_stay_in_redis_and_nonsense_holds_up_nobody(stack: Stack) -> None:
    async def body(answers: Answers, broker: Broker) -> None:
        for _ in range(3):
            broker.redis.xadd(answers.address, {"job": "\x00", "status": "200", "attempt": "x"})
            several = [ids.uuid7() for _ in range(READ_AT_ONCE)]
            for job in several:
                answers.expect(job)
            broker.send_answers([(job.hex, answers.address, reply_with(b"{}")) for job in several])
            told = await asyncio.gather(*(answers.wait(job, SOON_S) for job in several))
            assert all(one is not None for one in told)
        await asyncio.to_thread(
            until, lambda: not broker.redis.xlen(answers.address), SOON_S, "it is taken away with the next read"
        )
        assert 0 < broker.redis.ttl(answers.address) <= 60  # type: ignore[operator]  # as redis-py types it

    with_answers(stack, body)


def test_no_place_is_kept_for_what_nobody_waits_for_any_more(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Answers] = []
    monkeypatch.setattr(app, "Answers", lambda settings: made.append(Answers(settings)) or made[0])
    stack.orchestrator()
    stack.worker("llm")
    with serve(stack) as api:
        for text in ("Hi", "[[fail:500]]", "Hi"):
            api.post("/v1/chat/completions", chat(text))
        assert api.post("/v1/chat/completions", {**chat("Hi"), "model": "nobody"}).status_code == 404
        with pytest.raises(httpx2.TimeoutException):
            api.post("/v1/chat/completions", chat("[[sleep:3]]"), timeout=0.5)
        until(lambda: made[0].expecting == 0, 5, "nobody is waited for")
