"""What every engine promises of its streams, asked of each: `workers/engines/base.py` in tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from tests.workers.engines import test_conformance as suite
from tests.workers.engines.build import CHAT
from tests.workers.engines.test_conformance import Check, Subject
from workers.engines.assembly import Assembly
from workers.engines.base import Chunk, EngineRequest

blobs, check = suite.blobs, suite.check
COMPLETIONS = "/v1/completions"


def asking(subject: Subject, **body: Any) -> EngineRequest:
    """The subject's own kind of request, with no chance in it, and more fields."""
    asked = subject.request()
    return asked.with_body({**asked.body, "temperature": 0, **body})


async def streamed(subject: Subject, request: EngineRequest) -> tuple[list[Chunk], Answer]:
    chunks = [chunk async for chunk in subject.engine.stream(request)]
    answer = chunks[-1].answer
    assert answer is not None
    assert all(chunk.answer is None for chunk in chunks[:-1])
    return chunks, answer


def told(chunks: Sequence[Chunk], endpoint: str = CHAT) -> list[dict[str, Any]]:
    """The choices that the pieces come to."""
    assembly = Assembly(endpoint)
    for chunk in chunks:
        json.dumps(list(chunk.choices), allow_nan=False)
        assembly.add(chunk.choices)
    return [plain(row) for row in assembly.whole()]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A choice without fields that say nothing."""
    message = row.get("message")
    said = {key: value for key, value in message.items() if value} if message else {"text": row["text"]}
    return {"index": row["index"], "finish": row["finish_reason"], "logprobs": row.get("logprobs") or None, **said}


def whole(answer: Answer) -> list[dict[str, Any]]:
    """The choices of the answer."""
    return [plain(row) for row in answer.body["choices"]]


def test_the_pieces_of_a_chat_are_its_answer(check: Check) -> None:
    async def body(subject: Subject) -> None:
        chunks, answer = await streamed(subject, asking(subject))
        suite.assert_sound(answer)
        assert told(chunks) == whole(answer)
        assert any(chunk.choices for chunk in chunks)

    check(body)


def test_several_choices_come_apart_in_pieces_and_are_all_there(check: Check) -> None:
    async def body(subject: Subject) -> None:
        chunks, answer = await streamed(subject, asking(subject, n=2, temperature=1))
        assert told(chunks) == whole(answer)
        one_answers = "Specialist" in type(subject.engine).__name__
        assert [row["index"] for row in whole(answer)] == ([0] if one_answers else [0, 1])

    check(body)


def test_completions_come_in_pieces_where_the_engine_serves_them(check: Check) -> None:
    async def body(subject: Subject) -> None:
        if COMPLETIONS not in subject.engine.limits().endpoints:
            pytest.skip("this engine serves no completions")
        fields = {
            key: value for key, value in asking(subject).body.items() if key not in ("messages", "reasoning_effort")
        }
        for prompt, count in (("one two", 1), (["one two", "three"], 2)):
            request = EngineRequest("job_c", COMPLETIONS, {**fields, "prompt": prompt, "max_tokens": 8}, None, 60.0)
            chunks, answer = await streamed(subject, request)
            assert told(chunks, COMPLETIONS) == whole(answer)
            assert len(whole(answer)) == count

    check(body)


def test_a_stream_takes_what_the_same_request_takes_at_once(check: Check) -> None:
    async def body(subject: Subject) -> None:
        at_once = await subject.engine.perform(asking(subject))
        _, answer = await streamed(subject, asking(subject))
        assert whole(answer) == whole(at_once)
        # How much of the prompt is in a cache depends on what ran before.
        assert replace(answer.usage, cached_tokens=0) == replace(at_once.usage, cached_tokens=0)

    check(body)


def test_what_was_consumed_grows_with_the_pieces_up_to_the_answers_usage(check: Check) -> None:
    async def body(subject: Subject) -> None:
        for request in (asking(subject), asking(subject, n=2, temperature=1)):
            chunks, answer = await streamed(subject, request)
            assert chunks[-1].usage == answer.usage
            counts = [chunk.usage for chunk in chunks[:-1]]
            if "OpenAI" in type(subject.engine).__name__:
                assert counts == [None] * len(counts), "this server counts at its end only"
                return
            known = [one for one in counts if one is not None]
            assert len(known) == len(counts)
            assert grows(known, answer.usage)

    check(body)


def grows(counts: Sequence[Usage], end: Usage) -> bool:
    outputs = [one.output_tokens for one in counts]
    reads = {(one.input_tokens, one.images) for one in counts}
    return (
        outputs == sorted(outputs)
        and all(0 < one.output_tokens <= end.output_tokens for one in counts)
        and all(one.reasoning_tokens <= end.reasoning_tokens for one in counts)
        and reads <= {(end.input_tokens, end.images)}
    )


def test_each_piece_says_whose_it_is(check: Check) -> None:
    async def body(subject: Subject) -> None:
        chunks, answer = await streamed(subject, asking(subject))
        assert {chunk.model_revision for chunk in chunks} == {answer.model_revision}
        assert {chunk.simulated for chunk in chunks} == {answer.simulated}

    check(body)


def test_a_stream_that_is_aborted_after_its_first_piece_frees_the_engine(check: Check) -> None:
    async def body(subject: Subject) -> None:
        for turn in range(8):  # twice its slots
            request = replace(asking(subject), job_id=f"job_{turn}")
            stream = subject.engine.stream(request)
            first = await anext(stream)
            await subject.engine.abort(request.job_id)
            if first.answer is None:
                with pytest.raises(EngineFault) as caught:
                    await anext(stream)
                assert caught.value.fault_code == "aborted"
            await stream.aclose()
        load = subject.engine.load_now()
        assert load is None or await idle(subject)
        suite.assert_sound(await subject.engine.perform(asking(subject)))

    check(body)


async def idle(subject: Subject) -> bool:
    """Whether the engine comes to rest; one reports after each of its steps, and another only while it has some."""
    async with asyncio.timeout(5):
        while (load := subject.engine.load_now()) is not None and load.running + load.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


def test_streams_run_beside_each_other_and_mix_nothing_up(check: Check) -> None:
    async def body(subject: Subject) -> None:
        requests = [replace(asking(subject), job_id=f"job_{number}") for number in range(8)]
        for chunks, answer in await asyncio.gather(*(streamed(subject, one) for one in requests)):
            assert told(chunks) == whole(answer)

    check(body)


def test_a_stream_of_what_is_not_served_is_refused_for_good(check: Check) -> None:
    async def body(subject: Subject) -> None:
        request = EngineRequest("job_1", "/v1/images/generations", asking(subject).body, "tickets", 60.0)
        with pytest.raises(EngineFault) as caught:
            await anext(subject.engine.stream(request))
        assert (caught.value.fault_code, caught.value.retryable) == ("unsupported_endpoint", False)

    check(body)


def test_f27_the_deadline_stops_a_stream(check: Check) -> None:
    async def body(subject: Subject) -> None:
        async def read() -> Answer:
            chunks = [chunk async for chunk in subject.stuck.stream(subject.request(seconds_left=0.1))]
            raise AssertionError(f"the stream ended by itself: {chunks}")

        assert (await suite.stopped(asyncio.create_task(read()), "deadline")).retryable

    check(body)
