"""Answers chunk by chunk: whole, broken off with their job, and cut where the reader closes them."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator import errors
from orchestrator.client import AsyncRightsize, Rightsize
from orchestrator.requests import RESPONSES
from tests.client.cutting import Cutter
from tests.serving import Api
from tests.stack import chat, until


def newest(api: Api) -> int:
    return api.stack.count("SELECT coalesce(max(id), 0) FROM jobs")


def text_of(chunks: list[dict[str, object]]) -> str:
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])  # type: ignore[index]


def test_the_chunks_are_the_answer_and_the_last_one_carries_its_route_and_price(client: Rightsize) -> None:
    with client.stream(chat("Where is my order?", model="fast")) as stream:
        chunks = list(stream)
    whole = client.complete(chat("Where is my order?", model="fast"))
    assert text_of(chunks) == whole["choices"][0]["message"]["content"]
    assert len(chunks) > 2
    assert (chunks[-1]["rightsize"]["model"], chunks[-1]["rightsize"]["tier"]) == ("fast", "llm")


def test_a_response_is_streamed_by_its_events(client: Rightsize) -> None:
    events = list(client.stream({"model": "fast", "input": "Where is my order?"}, endpoint=RESPONSES))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")


def test_closing_hangs_up_and_what_was_written_is_charged_once(api: Api, client: Rightsize) -> None:
    before = newest(api)
    began = time.monotonic()
    for chunk in client.stream(chat("[[sleep:6]] Tell me a story.", model="fast")):
        if chunk["choices"][0]["delta"].get("content"):
            break
    job = until(lambda: api.stack.query("SELECT id, state FROM jobs WHERE id > :id AND state >= 10", id=before), 5)[0]
    assert time.monotonic() - began < 4
    assert job.state == 10
    assert api.stack.count("SELECT count(*) FROM transfers WHERE job_id = :id AND kind = 'charge'", id=job.id) == 1


def test_asynchronous_code_streams_and_hangs_up_alike(api: Api) -> None:
    async def run() -> None:
        async with AsyncRightsize(api.url, api.key) as client:
            chunks = [chunk async for chunk in client.stream(chat("Hello", model="fast"))]
            assert text_of(chunks)
            assert chunks[-1]["rightsize"]["model"] == "fast"
            with pytest.raises(errors.JobFailed):
                await anext(client.stream(chat("[[fail:400]]", model="fast")))
            async with client.stream(chat("[[sleep:6]] Tell me a story.", model="fast")) as stream:
                async for chunk in stream:
                    if chunk["choices"][0]["delta"].get("content"):
                        break

    before = newest(api)
    asyncio.run(run())
    found = until(
        lambda: len(api.stack.query("SELECT 1 FROM jobs WHERE id > :id AND state >= 10", id=before)) == 3, 5
    )  # fmt: skip
    assert found


def test_what_fails_before_its_first_chunk_is_its_job_and_what_breaks_off_later_too(client: Rightsize) -> None:
    with pytest.raises(errors.JobFailed) as early:
        next(client.stream(chat("[[fail:400]]", model="fast")))
    assert early.value.status == 400
    chunks = []
    with pytest.raises(errors.JobFailed, match="broke off") as late:
        for chunk in client.stream(chat("[[fail:cut]] x", model="fast")):
            chunks.append(chunk)  # noqa: PERF402 - those before the fault are wanted
    assert chunks
    for failed in (early.value, late.value):
        assert client.job(failed.job_id)["error"]["code"] == failed.code
    with pytest.raises(errors.InvalidRequest):
        next(client.stream({"messages": []}))


def test_a_lost_connection_is_no_whole_answer(cutter: Cutter, api: Api) -> None:
    cutter.cut("POST /v1/chat", times=1, answer_bytes=1_500)
    with Rightsize(cutter.url, api.key) as through, pytest.raises(errors.ServiceUnavailable):
        list(through.stream(chat("[[sleep:1]] Hello", model="fast")))


def test_under_a_key_a_stream_that_did_not_begin_is_asked_for_again(cutter: Cutter, api: Api) -> None:
    before = newest(api)
    cutter.cut("POST /v1/chat", times=2, answer_bytes=40)
    with Rightsize(cutter.url, api.key) as through:
        assert text_of(list(through.stream(chat("Hello", model="fast"), key="stream-1")))
    assert cutter.cuts == 2
    assert newest(api) == before + 1


def test_a_stream_that_was_never_read_was_never_asked_for(api: Api, client: Rightsize) -> None:
    before = newest(api)
    client.stream(chat("Hello")).close()
    assert newest(api) == before
