"""What every engine promises, asked of each: `workers/engines/base.py` in tests."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from orchestrator.requests import CLASSIFY, EMBEDDINGS, SCORE
from orchestrator.rightsizing.training.train import train
from tests.weights import smollm2_gguf
from tests.workers.engines.build import CHAT, alike, chat, engine
from tests.workers.engines.openai_server import OpenAIServer
from workers.engines.base import Engine, EngineRequest

TEXTS = ["my card has not come", "the card is late", "refund my money", "I want the money back"]
LABELS = ["card", "card", "refund", "refund"]


@dataclass
class Subject:
    """An engine that answers, the same kind of engine that is stuck, and a signal that it has begun to be."""

    engine: Engine
    stuck: Engine
    begun: Callable[[], Awaitable[None]]

    def request(
        self, text: str = "where is my card", *, job: str = "job_1", seconds_left: float = 60.0
    ) -> EngineRequest:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
        return EngineRequest(job, CHAT, body, "tickets", seconds_left)


@asynccontextmanager
async def simulated(blobs: Path) -> AsyncIterator[Subject]:
    table = {"latency_s": [0.001, 0.002], "accuracy": 0.9}
    stuck = engine("simulated", timeout_s=30, slots=4, simulate={**table, "fail": {"kind": "hang"}})
    yield Subject(engine("simulated", slots=4, simulate=table), stuck, lambda: asyncio.sleep(0))


@asynccontextmanager
async def unpaced(blobs: Path) -> AsyncIterator[Subject]:
    """The simulated engine on the path that waits for nothing."""
    stuck = engine("simulated", timeout_s=30, slots=4, simulate={"fail": {"kind": "hang"}})
    yield Subject(engine("simulated", slots=4), stuck, lambda: asyncio.sleep(0))


@asynccontextmanager
async def openai(blobs: Path) -> AsyncIterator[Subject]:
    async with OpenAIServer() as server:

        async def arrived() -> None:
            await asyncio.wait_for(server.arrived.wait(), 5)

        stuck = engine("openai", timeout_s=30, slots=4, address=server.address("hang"))
        yield Subject(engine("openai", slots=4, address=server.address()), stuck, arrived)


@asynccontextmanager
async def specialist(blobs: Path) -> AsyncIterator[Subject]:
    stuck: Any = engine("specialist", blobs, timeout_s=30, slots=4)
    gate, begun = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        gate.wait(20)

    stuck._pool.submit(block)
    try:
        yield Subject(engine("specialist", blobs, slots=4), stuck, lambda: asyncio.to_thread(begun.wait, 5))
    finally:
        gate.set()


class LlamaSubject(Subject):
    """Asks for a word of the right form: a small model ends it by itself, after few tokens."""

    def request(
        self, text: str = "where is my card", *, job: str = "job_1", seconds_left: float = 60.0
    ) -> EngineRequest:
        asked = super().request(text[:200], job=job, seconds_left=seconds_left)
        return asked.with_body({**asked.body, "structured_outputs": {"regex": "[a-z]{1,8}"}})


@asynccontextmanager
async def thinking(blobs: Path) -> AsyncIterator[Subject]:
    """The same with a thought before each answer: two requests there for one here."""
    async with llamacpp(blobs, reasoning={"opens": True, "medium_tokens": 6}) as subject:
        yield subject


@asynccontextmanager
async def llamacpp(blobs: Path, **more: Any) -> AsyncIterator[Subject]:
    """Real weights. The stuck one's process is stopped as soon as it is loaded."""
    options = {"threads": 1, "context_per_slot": 2048}
    table = {"path": str(smollm2_gguf()), "slots": 4, "llamacpp": options, **more}
    stuck: Any = engine("llamacpp", timeout_s=30, **table)
    load = stuck.load

    async def load_and_stop() -> None:
        await load()
        os.kill(stuck._process.pid, signal.SIGSTOP)

    async def running() -> None:
        while not stuck.load_now().running:  # noqa: ASYNC110 - the engine's own report is what is waited for
            await asyncio.sleep(0)

    stuck.load = load_and_stop
    yield LlamaSubject(engine("llamacpp", **table), stuck, running)


Opening = Callable[[Path], AbstractAsyncContextManager[Subject]]


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blobs")
    train(TEXTS, LABELS, "tickets", folder)
    return folder


@pytest.fixture(
    params=[simulated, unpaced, openai, specialist, llamacpp, thinking], ids=lambda function: function.__name__
)
def check(request: pytest.FixtureRequest, blobs: Path) -> Callable[[Callable[[Subject], Awaitable[None]]], None]:
    """Runs one check against one kind of engine, on a loop of its own."""
    opening: Opening = request.param

    def run(body: Callable[[Subject], Awaitable[None]]) -> None:
        async def main() -> None:
            async with opening(blobs) as subject:
                if opening is not specialist:  # its one thread is held already
                    await subject.stuck.load()
                await subject.engine.load()
                try:
                    await body(subject)
                finally:
                    await subject.engine.close()
                    await subject.stuck.close()

        asyncio.run(asyncio.wait_for(main(), 20))

    return run


Check = Callable[[Callable[[Subject], Awaitable[None]]], None]


def assert_sound(answer: Answer) -> None:
    usage = answer.usage
    json.dumps(answer.body, allow_nan=False)
    counts = (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens, usage.images)
    assert all(type(count) is int and count >= 0 for count in counts)
    assert usage.cached_tokens <= usage.input_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    assert answer.body["usage"]["prompt_tokens"] == usage.input_tokens
    assert answer.body["usage"]["completion_tokens"] == usage.output_tokens
    assert answer.body["object"] == "chat.completion"
    assert answer.body["choices"][0]["message"]["content"]
    assert answer.body["choices"][0]["finish_reason"] == "stop"
    assert answer.model_revision


async def stopped(task: asyncio.Task[Answer], code: str) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        await asyncio.wait_for(task, 5)
    assert caught.value.fault_code == code
    return caught.value


def test_an_answer_has_a_body_and_the_usage_it_states(check: Check) -> None:
    async def body(subject: Subject) -> None:
        request = subject.request()
        before = copy.deepcopy(request.body)
        assert_sound(await subject.engine.perform(request))
        assert request.body == before

    check(body)


def test_a_stream_adds_up_to_its_answer(check: Check) -> None:
    async def body(subject: Subject) -> None:
        chunks = [chunk async for chunk in subject.engine.stream(subject.request())]
        answer = chunks[-1].answer
        assert answer is not None
        assert_sound(answer)
        assert all(chunk.answer is None for chunk in chunks[:-1])
        assert "".join(chunk.delta for chunk in chunks) == answer.body["choices"][0]["message"]["content"]

    check(body)


def test_a_stream_may_be_left_in_the_middle(check: Check) -> None:
    async def body(subject: Subject) -> None:
        stream: Any = subject.engine.stream(subject.request())
        await anext(stream)
        await stream.aclose()
        assert_sound(await subject.engine.perform(subject.request()))

    check(body)


def test_only_simulated_answers_say_that_they_are(check: Check) -> None:
    async def body(subject: Subject) -> None:
        answer = await subject.engine.perform(subject.request())
        assert answer.simulated == ("Simulated" in type(subject.engine).__name__)

    check(body)


def test_all_slots_run_at_once(check: Check) -> None:
    async def body(subject: Subject) -> None:
        slots = subject.engine.limits().slots
        assert slots == 4
        requests = [subject.request(f"where is card {n}", job=f"job_{n}") for n in range(3 * slots)]
        for answer in await asyncio.gather(*map(subject.engine.perform, requests)):
            assert_sound(answer)

    check(body)


def test_abort_stops_one_request_and_no_other(check: Check) -> None:
    async def body(subject: Subject) -> None:
        one = asyncio.create_task(subject.stuck.perform(subject.request(job="job_a")))
        other = asyncio.create_task(subject.stuck.perform(subject.request(job="job_b")))
        await subject.begun()
        await subject.stuck.abort("job_a")
        fault = await stopped(one, "aborted")
        assert not fault.retryable
        assert not other.done()
        await subject.stuck.abort("job_b")
        await stopped(other, "aborted")

    check(body)


def test_abort_of_an_unknown_job_does_nothing(check: Check) -> None:
    async def body(subject: Subject) -> None:
        await subject.engine.abort("job_never")
        assert_sound(await subject.engine.perform(subject.request()))

    check(body)


def test_abort_stops_a_stream(check: Check) -> None:
    async def body(subject: Subject) -> None:
        async def read() -> Answer:
            async for chunk in subject.stuck.stream(subject.request(job="job_s")):
                assert chunk.answer is None
            raise AssertionError("the stream ended by itself")

        task = asyncio.create_task(read())
        await subject.begun()
        await subject.stuck.abort("job_s")
        await stopped(task, "aborted")

    check(body)


def test_cancelling_stops_a_request_and_leaves_the_engine_well(check: Check) -> None:
    async def body(subject: Subject) -> None:
        tasks = [asyncio.create_task(subject.stuck.perform(subject.request(job=f"job_{n}"))) for n in range(8)]
        await subject.begun()
        for task in tasks:
            task.cancel()
        assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks, return_exceptions=True))
        assert_sound(await subject.engine.perform(subject.request()))

    check(body)


def test_f27_the_deadline_stops_a_request(check: Check) -> None:
    async def body(subject: Subject) -> None:
        began = time.monotonic()
        task = asyncio.create_task(subject.stuck.perform(subject.request(seconds_left=0.1)))
        fault = await stopped(task, "deadline")
        assert fault.retryable
        assert time.monotonic() - began < 15

    check(body)


def test_the_loop_is_never_blocked(check: Check) -> None:
    async def body(subject: Subject) -> None:
        gaps: list[float] = []

        async def watch() -> None:
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.001)
                gaps.append(time.monotonic() - before)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        long = "where is my card and my money " * 400
        requests = [subject.request(long, job=f"job_{n}") for n in range(4)]
        await asyncio.gather(*map(subject.engine.perform, requests))
        await asyncio.sleep(0.005)
        watching.cancel()
        assert max(gaps) < 0.25

    check(body)


def test_an_endpoint_that_is_not_served_is_refused_for_good(check: Check) -> None:
    async def body(subject: Subject) -> None:
        request = EngineRequest("job_1", "/v1/images/generations", chat().body, "tickets", 60.0)
        assert request.endpoint not in subject.engine.limits().endpoints
        with pytest.raises(EngineFault) as caught:
            await subject.engine.perform(request)
        assert (caught.value.fault_code, caught.value.retryable) == ("unsupported_endpoint", False)

    check(body)


def test_texts_are_embedded_where_the_engine_says_so(check: Check) -> None:
    async def body(subject: Subject) -> None:
        answer = await read_only(subject, EMBEDDINGS, {"input": TEXTS})
        assert [row["index"] for row in answer.body["data"]] == [0, 1, 2, 3]
        assert all(row["embedding"] for row in answer.body["data"])

    check(body)


def test_texts_are_classified_where_the_engine_says_so(check: Check) -> None:
    async def body(subject: Subject) -> None:
        answer = await read_only(subject, CLASSIFY, {"input": TEXTS})
        assert [row["index"] for row in answer.body["data"]] == [0, 1, 2, 3]
        for row in answer.body["data"]:
            assert row["label"]
            assert row["num_classes"] == len(row["probs"])
            assert sum(row["probs"]) == pytest.approx(1, abs=0.01) or len(row["probs"]) == 1

    check(body)


def test_pairs_are_scored_where_the_engine_says_so(check: Check) -> None:
    async def body(subject: Subject) -> None:
        for queries in (TEXTS[0], TEXTS):
            answer = await read_only(subject, SCORE, {"queries": queries, "documents": TEXTS})
            assert [row["index"] for row in answer.body["data"]] == [0, 1, 2, 3]
            assert all(isinstance(row["score"], float) for row in answer.body["data"])

    check(body)


async def read_only(subject: Subject, endpoint: str, body: dict[str, Any]) -> Answer:
    """The answer to what a model only reads; skips where the engine does not say that it serves this."""
    request = EngineRequest("job_1", endpoint, {"model": "auto", **body}, None, 60.0)
    if endpoint not in subject.engine.limits().endpoints:
        with pytest.raises(EngineFault) as caught:
            await subject.engine.perform(request)
        assert (caught.value.fault_code, caught.value.retryable) == ("unsupported_endpoint", False)
        pytest.skip(f"this engine does not say that it serves {endpoint}")
    answer = await subject.engine.perform(request)
    json.dumps(answer.body, allow_nan=False)
    assert answer.usage.input_tokens == answer.body["usage"]["prompt_tokens"] > 0
    assert answer.usage.output_tokens == 0
    assert answer.body["object"] == "list"
    assert answer.simulated == ("Simulated" in type(subject.engine).__name__)
    *_, last = [chunk async for chunk in subject.engine.stream(request)]
    assert last.answer is not None and alike(last.answer.body["data"], answer.body["data"])  # noqa: PT018
    return answer


def test_health_is_good_after_load_and_not_after_close(check: Check) -> None:
    async def body(subject: Subject) -> None:
        assert (await subject.engine.health()).ready
        await subject.engine.close()
        health = await subject.engine.health()
        assert not health.ready
        assert health.detail

    check(body)


def test_close_aborts_what_runs_and_takes_no_more(check: Check) -> None:
    async def body(subject: Subject) -> None:
        task = asyncio.create_task(subject.stuck.perform(subject.request()))
        await subject.begun()
        await subject.stuck.close()
        await stopped(task, "aborted")
        with pytest.raises(EngineFault):
            await subject.stuck.perform(subject.request())

    check(body)
