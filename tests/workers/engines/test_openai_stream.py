"""Streams over real sockets: what comes in pieces is the answer that would have come at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from tests.workers.engines.build import chat, completion, embeddings, engine
from tests.workers.engines.openai_behaviours import SAID
from tests.workers.engines.openai_server import OpenAIServer
from workers.engines.base import EngineRequest


def streamed(behaviour: str, request: EngineRequest) -> tuple[list[str], Answer]:
    async def main() -> tuple[list[str], Answer]:
        async with OpenAIServer() as server:
            made = engine("openai", address=server.address(behaviour))
            await made.load()
            try:
                chunks = [chunk async for chunk in made.stream(request)]
            finally:
                await made.close()
            assert chunks[-1].answer is not None
            return [chunk.delta for chunk in chunks if chunk.delta], chunks[-1].answer

    return asyncio.run(main())


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
