"""Streams over real sockets: what comes in pieces is the answer that would have come at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from tests.workers.engines.build import chat, completion, embeddings, engine
from tests.workers.engines.openai_behaviours import BEHAVIOURS, SAID, Exchange
from tests.workers.engines.openai_server import OpenAIServer
from workers.engines.assembly import Assembly
from workers.engines.base import Chunk, EngineRequest


def chunks_of(behaviour: str, request: EngineRequest, *, vllm: bool = False) -> tuple[list[Chunk], dict[str, Any]]:
    """The chunks, and what the server was asked."""

    async def main() -> tuple[list[Chunk], dict[str, Any]]:
        async with OpenAIServer() as server:
            if vllm:
                server.listing = {"object": "list", "data": [{"id": "under-test", "owned_by": "vllm"}]}
            made = engine("openai", address=server.address(behaviour))
            await made.load()
            try:
                chunks = [chunk async for chunk in made.stream(request)]
            finally:
                await made.close()
            return chunks, server.exchanges[0].body

    return asyncio.run(main())


def streamed(behaviour: str, request: EngineRequest) -> tuple[list[str], Answer]:
    chunks, _ = chunks_of(behaviour, request)
    assert chunks[-1].answer is not None
    return [chunk.delta for chunk in chunks if chunk.delta], chunks[-1].answer


def test_a_chat_comes_in_pieces() -> None:
    pieces, answer = streamed("good", chat())
    assert pieces == [SAID[:5], SAID[5:]]
    assert answer.body["choices"][0]["message"] == {"role": "assistant", "content": SAID}
    assert answer.body["object"] == "chat.completion"


def test_a_completion_comes_in_pieces() -> None:
    pieces, answer = streamed("good", completion())
    assert "".join(pieces) == SAID
    assert answer.body["choices"] == [{"index": 0, "text": SAID, "finish_reason": "stop"}]


@pytest.mark.parametrize("request_", [chat(), completion()], ids=["chat", "completion"])
def test_a_server_that_does_not_stream_is_understood(request_: EngineRequest) -> None:
    pieces, answer = streamed("whole", request_)
    assert pieces == [SAID]
    assert answer.usage.output_tokens == 7


def test_embeddings_come_at_once() -> None:
    pieces, answer = streamed("good", embeddings("a"))
    assert pieces == []
    assert len(answer.body["data"]) == 1


def test_calls_of_tools_and_thoughts_are_put_together() -> None:
    pieces, answer = streamed("tools", chat())
    message = answer.body["choices"][0]["message"]
    assert pieces == []
    assert message["tool_calls"][0]["id"] == "call_1"
    assert message["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a": 1}'}
    assert message["reasoning_content"] == "think"
    assert message["content"] is None
    assert answer.body["choices"][0]["finish_reason"] == "tool_calls"


def test_calls_and_thoughts_come_in_the_pieces_that_the_server_sends() -> None:
    chunks, _ = chunks_of("tools", chat())
    deltas = [row["delta"] for chunk in chunks for row in chunk.choices]
    assert deltas[0] == {"reasoning_content": "think"}
    assert [call["function"].get("arguments") for delta in deltas[1:4] for call in delta["tool_calls"]] == [
        "",
        '{"a":',
        " 1}",
    ]
    assembly = Assembly("/v1/chat/completions")
    for chunk in chunks:
        assembly.add(chunk.choices)
    assert chunks[-1].answer is not None
    assert assembly.whole() == chunks[-1].answer.body["choices"]


def test_log_probabilities_come_with_their_words_and_stand_in_the_whole_answer() -> None:
    chunks, _ = chunks_of("logprobs", chat())
    answer = chunks[-1].answer
    assert answer is not None
    assert [row["token"] for row in answer.body["choices"][0]["logprobs"]["content"]] == ["a", "b"]
    assert chunks[0].choices[0]["logprobs"]["content"] == [{"token": "a", "logprob": -1.0}]


def test_a_vllm_server_is_asked_to_count_with_each_piece_and_its_choices_add_up() -> None:
    chunks, asked = chunks_of("counting", chat(n=2), vllm=True)
    assert asked["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert [chunk.usage for chunk in chunks] == [
        Usage(12, 0, 1),
        Usage(12, 0, 2),
        Usage(12, 0, 3),
        None,
        Usage(12, 8, 3),
    ]
    _, other = chunks_of("good", chat())
    assert other["stream_options"] == {"include_usage": True}


def test_of_several_choices_of_another_server_only_the_last_count_is_believed() -> None:
    chunks, _ = chunks_of("counting", chat(n=2))
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage == Usage(12, 8, 3)


def test_only_fields_that_are_known_are_handed_on_each_of_its_own_kind() -> None:
    chunks, _ = chunks_of("junk", chat())
    assert chunks[0].choices == [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": None}]
    assert chunks[-1].answer is not None
    assert chunks[-1].answer.body["choices"][0]["message"] == {"role": "assistant", "content": "Yes."}


def test_another_models_stream_is_refused_before_any_of_it_is_told() -> None:
    with pytest.raises(EngineFault, match="somebody-else") as caught:
        streamed("another", chat())
    assert caught.value.fault_code == "wrong_model"


def test_f28_an_error_in_the_middle_of_a_stream_is_a_fault() -> None:
    with pytest.raises(EngineFault, match="out of memory") as caught:
        streamed("midway", chat())
    assert (caught.value.fault_code, caught.value.retryable) == ("server_error", True)


def test_cancelled_requests_leave_the_connection_pool_whole() -> None:
    async def main() -> None:
        async with OpenAIServer() as server:
            made: Any = engine("openai", address=server.address("hang"), slots=3)
            await made.load()
            for turn in range(1, 5):
                tasks = [asyncio.create_task(made.perform(chat(job=f"job_{n}"))) for n in range(4)]
                async with asyncio.timeout(5):
                    while len(server.exchanges) < 4 * turn:
                        server.arrived.clear()
                        await server.arrived.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await server.until_closed()
            await made.close()

    asyncio.run(main())


@pytest.mark.parametrize("told", ["priority", "flex", None, "", 7, {"a": 1}, "x" * 65])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_the_service_tier_that_a_server_names_is_handed_on_and_nothing_else_in_its_place(
    told: object, in_pieces: bool
) -> None:
    async def tiered(exchange: Exchange, *_: str) -> None:
        if exchange.body.get("stream"):
            await exchange.events(exchange.pieces(service_tier=told))
        else:
            await exchange.whole(exchange.answer(service_tier=told))

    async def main() -> Answer:
        async with OpenAIServer() as server:
            made = engine("openai", address=server.address("tiered"))
            await made.load()
            try:
                if not in_pieces:
                    return await made.perform(chat())
                answer = [chunk async for chunk in made.stream(chat())][-1].answer
                assert answer is not None
                return answer
            finally:
                await made.close()

    with pytest.MonkeyPatch.context() as planting:
        planting.setitem(BEHAVIOURS, "tiered", tiered)
        answer = asyncio.run(main())
    assert answer.body.get("service_tier") == (told if told in ("priority", "flex") else None)
