"""What a model's server can do wrong, over real sockets: every case ends in a fault of a known class."""

from __future__ import annotations

import asyncio
import logging
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from tests.workers.engines.build import chat, completion, embeddings, engine
from tests.workers.engines.openai_behaviours import SAID, gzip_bomb
from tests.workers.engines.openai_server import OpenAIServer
from workers.engines._openai.faults import retry_after_s
from workers.engines.base import Engine, EngineRequest

QUICK = {"connect_timeout_s": 1.0, "first_byte_timeout_s": 0.2, "timeout_s": 5.0}
KEY = "sk-canary-1234567890"


async def perform(address: str, request: EngineRequest, **table: Any) -> Answer:
    made = engine("openai", address=address, **{**QUICK, **table})
    await made.load()
    try:
        return await made.perform(request)
    finally:
        await made.close()


async def streamed(address: str, request: EngineRequest, **table: Any) -> tuple[str, Answer]:
    made = engine("openai", address=address, **{**QUICK, **table})
    await made.load()
    try:
        chunks = [chunk async for chunk in made.stream(request)]
    finally:
        await made.close()
    answer = chunks[-1].answer
    assert answer is not None
    assert all(chunk.answer is None for chunk in chunks[:-1])
    return "".join(chunk.delta for chunk in chunks), answer


def answer_of(behaviour: str, request: EngineRequest | None = None, **table: Any) -> Answer:
    async def main() -> Answer:
        async with OpenAIServer() as server:
            return await perform(server.address(behaviour), request or chat(), **table)

    return asyncio.run(main())


def fault_of(
    behaviour: str, *, stream: bool = False, request: EngineRequest | None = None, **table: Any
) -> EngineFault:
    async def main() -> EngineFault:
        async with OpenAIServer() as server:
            run = streamed if stream else perform
            with pytest.raises(EngineFault) as caught:
                await run(server.address(behaviour), request or chat(), **table)
            await server.until_closed()
            return caught.value

    return asyncio.run(main())


@pytest.mark.parametrize(
    "status,code,shown",
    [
        (408, "upstream_timeout", 504),
        (409, "upstream_conflict", 502),
        (425, "too_early", 502),
        (429, "rate_limited", 429),
        (500, "server_error", 502),
        (502, "server_error", 502),
        (503, "server_error", 503),
        (599, "server_error", 502),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_f26_statuses_that_may_pass_are_tried_again(status: int, code: str, shown: int, stream: bool) -> None:
    fault = fault_of(f"status-{status}", stream=stream)
    assert (fault.fault_code, fault.retryable, fault.http_status, fault.retry_after_s) == (code, True, shown, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_f26_statuses_that_will_not_pass_are_final(status: int) -> None:
    assert not fault_of(f"status-{status}").retryable


@pytest.mark.parametrize("status,key", [(401, "api_key_env"), (403, "api_key_env"), (404, "served_model")])
def test_f26_a_wrong_setting_is_named(status: int, key: str) -> None:
    assert f"models.under-test.{key}" in fault_of(f"status-{status}").message


def test_f26_retry_after_is_honoured_and_bounded() -> None:
    assert fault_of("status-429-after-7").retry_after_s == 7
    assert fault_of("status-503-after-99999999").retry_after_s == 600
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (retry_after_s(later) or 0) <= 60
    assert [retry_after_s(value) for value in ("-3", "nan", "soon", "", "inf", None)] == [
        0,
        None,
        None,
        None,
        600,
        None,
    ]


def test_f26_a_refused_connection_is_tried_again() -> None:
    async def main() -> EngineFault:
        async with OpenAIServer() as server:
            address = server.address()
        with pytest.raises(EngineFault) as caught:
            await perform(address, chat())
        return caught.value

    fault = asyncio.run(main())
    assert (fault.fault_code, fault.retryable) == ("connection_failed", True)
    assert "models.under-test.address" in fault.message


def test_f26_a_server_without_tls_behind_https_is_a_failed_connection() -> None:
    async def main() -> EngineFault:
        async with OpenAIServer() as server:
            with pytest.raises(EngineFault) as caught:
                await perform(server.address().replace("http:", "https:"), chat())
            return caught.value

    assert asyncio.run(main()).fault_code == "connection_failed"


def test_f26_a_redirect_is_not_followed() -> None:
    fault = fault_of("redirect")
    assert (fault.fault_code, fault.retryable) == ("redirected", False)


def test_f27_a_server_that_says_nothing_is_left() -> None:
    fault = fault_of("hang", stream=True)
    assert (fault.fault_code, fault.retryable, fault.http_status) == ("first_byte_timeout", True, 504)


def test_f27_an_answer_that_comes_whole_may_take_as_long_as_the_total_timeout() -> None:
    fault = fault_of("hang", timeout_s=0.4)
    assert (fault.fault_code, fault.retryable, fault.http_status) == ("timeout", True, 504)


@pytest.mark.parametrize("stream", [False, True])
def test_f27_a_server_that_drips_is_left_at_the_total_timeout(stream: bool) -> None:
    began = time.monotonic()
    fault = fault_of("drip-20", stream=stream, timeout_s=0.4)
    assert (fault.fault_code, fault.retryable) == ("timeout", True)
    assert time.monotonic() - began < 15


def test_f27_the_deadline_of_the_job_ends_the_request() -> None:
    fault = fault_of("drip-20", request=chat(seconds_left=0.2))
    assert (fault.fault_code, fault.retryable) == ("deadline", True)


def test_f27_requests_that_hang_free_their_slots() -> None:
    async def main() -> None:
        async with OpenAIServer() as server:
            made = engine("openai", address=server.address("flaky-0"), slots=2, **QUICK)
            hanging = engine("openai", address=server.address("hang"), slots=2, **{**QUICK, "timeout_s": 0.2})
            await hanging.load()
            for _ in range(3):
                tasks = [asyncio.create_task(hanging.perform(chat(job=f"job_{i}"))) for i in range(2)]
                found = await asyncio.gather(*tasks, return_exceptions=True)
                assert [getattr(fault, "fault_code", None) for fault in found] == ["timeout"] * 2
            await made.load()
            await made.perform(chat())
            await made.close()
            await hanging.close()
            await server.until_closed()

    asyncio.run(main())


@pytest.mark.parametrize(
    "behaviour,code,retryable",
    [
        ("reset", "connection_lost", True),
        ("body-garbage", "bad_json", True),
        ("body-list", "bad_json", True),
        ("body-deep", "bad_json", True),
        ("body-digits", "bad_json", True),
        ("badgzip", "bad_encoding", True),
        ("changed-model", "wrong_model", False),
        ("changed-twice", "bad_choices", True),
        ("changed-none", "bad_choices", True),
        ("changed-shape", "bad_choices", True),
        ("changed-error", "server_error", True),
        ("changed-invalid", "bad_request", False),
        ("changed-cached", "bad_usage", True),
    ],
)
def test_f28_answers_that_are_none_are_faults(behaviour: str, code: str, retryable: bool) -> None:
    fault = fault_of(behaviour)
    assert (fault.fault_code, fault.retryable) == (code, retryable)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["negative", "huge", "nan", "bool", "string", "null", "float"])
def test_f28_usage_that_cannot_be_never_becomes_a_price(kind: str, stream: bool) -> None:
    fault = fault_of(f"usage-{kind}", stream=stream)
    assert (fault.fault_code, fault.retryable) == ("bad_usage", True)


def test_f28_a_stream_without_its_end_mark_is_cut() -> None:
    fault = fault_of("cut", stream=True)
    assert (fault.fault_code, fault.retryable) == ("cut_stream", True)


@pytest.mark.parametrize("stream", [False, True])
def test_f28_missing_usage_is_estimated_and_says_so(stream: bool) -> None:
    async def main() -> Answer:
        async with OpenAIServer() as server:
            address = server.address("no_usage")
            return (await streamed(address, chat()))[1] if stream else await perform(address, chat())

    answer = asyncio.run(main())
    assert answer.body["rightsize_usage"] == "estimated"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (6, 4)
    assert answer.body["usage"]["total_tokens"] == 10


def test_f28_a_gzip_bomb_is_left_without_filling_memory() -> None:
    gzip_bomb()
    tracemalloc.start()
    try:
        fault = fault_of("bomb")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fault.fault_code == "answer_too_large"
    assert peak < 110 * 2**20


def test_a_dated_name_of_the_model_is_its_revision() -> None:
    assert answer_of("changed-dated").model_revision == "under-test-2026-01-31"


def test_reasoning_counted_beside_the_answer_is_counted_in() -> None:
    answer = answer_of("changed-beside")
    usage = answer.usage
    assert answer.body["usage"]["completion_tokens"] == 5
    assert (usage.output_tokens, usage.reasoning_tokens) == (5, 3)


def test_usage_keeps_cached_and_reasoning_tokens_apart() -> None:
    usage = answer_of("good").usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == (12, 5, 7, 3)


def test_a_stream_is_put_together_to_the_same_answer() -> None:
    async def main() -> tuple[str, Answer, Answer]:
        async with OpenAIServer() as server:
            text, answer = await streamed(server.address(), chat())
            return text, answer, await perform(server.address(), chat())

    text, answer, whole = asyncio.run(main())
    assert text == SAID
    assert answer.usage == whole.usage
    assert answer.body["choices"] == whole.body["choices"]


def test_completions_and_embeddings_are_served() -> None:
    assert answer_of("good", completion()).body["choices"][0]["text"] == SAID
    answer = answer_of("good", embeddings("one", "two"))
    assert len(answer.body["data"]) == 2
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 0)


def test_what_is_sent_names_the_served_model_and_a_limit_and_no_hints() -> None:
    async def main() -> list[dict[str, Any]]:
        async with OpenAIServer() as server:
            request = chat(metadata={"expected": "42"}, stream=True, stream_options={})
            await perform(server.address(), request, served_model="org/big", max_output_tokens=77)
            await streamed(server.address(), chat(max_completion_tokens=5))
            assert "metadata" in request.body
            return [exchange.body for exchange in server.exchanges]

    first, second = asyncio.run(main())
    assert first == {"model": "org/big", "messages": chat().body["messages"], "max_tokens": 77}
    assert second["max_completion_tokens"] == 5
    assert "max_tokens" not in second
    assert second["stream_options"] == {"include_usage": True}


def test_the_key_is_sent_and_never_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", KEY)

    async def main() -> tuple[str, EngineFault]:
        async with OpenAIServer() as server:
            with pytest.raises(EngineFault) as caught:
                await perform(server.address("status-401"), chat(), api_key_env="SOME_KEY")
            return server.exchanges[0].headers["authorization"], caught.value

    sent, fault = asyncio.run(main())
    assert sent == f"Bearer {KEY}"
    assert KEY not in fault.message
    assert "***" in fault.message
    assert KEY not in caplog.text


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    made = engine("openai", address="http://127.0.0.1:1/v1", api_key_env="SOME_KEY")
    with pytest.raises(InvalidConfig, match="SOME_KEY"):
        asyncio.run(made.load())


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://host/v1", "http://user:pw@host/v1", "http:///v1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfig, match=r"models\.under-test\.address"):
        engine("openai", address=address)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert answer_of("good").body["choices"]


def test_abort_closes_the_connection() -> None:
    async def main() -> None:
        async with OpenAIServer() as server:
            made: Engine = engine("openai", address=server.address("hang"), slots=1)
            await made.load()
            task = asyncio.create_task(made.perform(chat(job="job_7")))
            await server.arrived.wait()
            await made.abort("job_7")
            with pytest.raises(EngineFault, match="aborted"):
                await task
            await server.until_closed()
            await made.close()

    asyncio.run(main())


def test_cancelling_the_task_closes_the_connection() -> None:
    async def main() -> None:
        async with OpenAIServer() as server:
            made: Engine = engine("openai", address=server.address("hang"), slots=1)
            await made.load()
            task = asyncio.create_task(made.perform(chat()))
            await server.arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.until_closed()
            await made.close()

    asyncio.run(main())


def test_connections_are_reused_after_answers_and_streams() -> None:
    async def main() -> int:
        async with OpenAIServer() as server:
            made = engine("openai", address=server.address(), slots=2)
            await made.load()
            for _ in range(3):
                await made.perform(chat())
                assert [chunk async for chunk in made.stream(chat())][-1].answer
            await made.close()
            return server.connections

    assert asyncio.run(main()) == 1
