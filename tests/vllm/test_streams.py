"""Streams of the real vLLM: pieces come with its steps, thoughts among them, and whoever leaves frees the engine within a step."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from tests.stack import Stack
from tests.stack import chat as asking
from tests.vllm.conftest import Run
from tests.vllm.fleet import model
from tests.workers.engines.build import chat, completion
from tests.workers.reading import Read, entries, read, take
from workers.engines._vllm.chat import Chats
from workers.engines.assembly import Assembly
from workers.engines.base import Chunk, EngineRequest
from workers.engines.vllm import VLLMEngine

CHAT = "/v1/chat/completions"
QUIET = {"reasoning_effort": "none"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False},
    },
}  # fmt: skip


async def streamed(engine: Any, request: EngineRequest) -> tuple[list[Chunk], Answer]:
    chunks = [chunk async for chunk in engine.stream(request)]
    assert chunks[-1].answer is not None
    return chunks, chunks[-1].answer


def told(chunks: Sequence[Chunk], endpoint: str = CHAT) -> list[dict[str, Any]]:
    assembly = Assembly(endpoint)
    for chunk in chunks:
        assembly.add(chunk.choices)
    return assembly.whole()


def deltas(chunks: Sequence[Chunk], index: int = 0) -> list[dict[str, Any]]:
    return [row["delta"] for chunk in chunks for row in chunk.choices if row["index"] == index]


def test_two_choices_come_in_pieces_side_by_side_with_their_log_probabilities(
    engine: VLLMEngine, run: Run[Any]
) -> None:
    request = chat(n=2, max_tokens=12, min_tokens=12, temperature=1, logprobs=True, top_logprobs=1, **QUIET)
    chunks, answer = run(streamed(engine, request))
    rows = told(chunks)
    for row, whole in zip(rows, answer.body["choices"], strict=True):
        assert row["message"]["content"] == whole["message"]["content"]
        assert row["logprobs"] == whole["logprobs"]
        assert len(row["logprobs"]["content"]) == 12
        assert row["finish_reason"] == whole["finish_reason"] == "length"
    assert len(deltas(chunks)) > 6
    assert {row["index"] for row in chunks[len(chunks) // 2].choices} == {0, 1}, "both in one step"
    assert answer.usage.output_tokens == 24
    counts = [chunk.usage.output_tokens for chunk in chunks if chunk.usage]
    assert counts == sorted(counts)
    assert counts[0] <= 2


def test_a_thought_comes_in_pieces_before_the_words_and_is_counted_as_it_grows(
    engine: VLLMEngine, run: Run[Any]
) -> None:
    chunks, answer = run(streamed(engine, chat(max_tokens=8, min_tokens=8, reasoning_effort="low")))
    said = deltas(chunks)
    first_word = next(place for place, delta in enumerate(said) if "content" in delta)
    assert sum("reasoning" in delta for delta in said[:first_word]) > 4
    assert not any("reasoning" in delta for delta in said[first_word:])
    message = answer.body["choices"][0]["message"]
    assert told(chunks)[0]["message"] == {"role": "assistant", **message}
    thoughts = [chunk.usage.reasoning_tokens for chunk in chunks if chunk.usage]
    assert thoughts == sorted(thoughts)
    assert thoughts[0] < 24 == thoughts[-1]
    assert answer.usage.output_tokens == 24 + 8


def test_each_of_two_choices_has_its_own_thought_in_pieces(engine: VLLMEngine, run: Run[Any]) -> None:
    request = replace(chat(n=2, temperature=1, max_tokens=4, min_tokens=4), thinking_tokens=10)
    chunks, answer = run(streamed(engine, request))
    for row, whole in zip(told(chunks), answer.body["choices"], strict=True):
        assert row["message"]["reasoning"] == whole["message"]["reasoning"]
        assert row["message"]["content"] == whole["message"]["content"]
    assert answer.usage == replace(answer.usage, reasoning_tokens=20, output_tokens=28)


def test_marks_of_a_thought_are_never_told(engine: VLLMEngine, weights: Path, run: Run[Any]) -> None:
    asked = {"temperature": 0, "max_tokens": 12, "min_tokens": 12}

    def chats(**reasoning: Any) -> Chats:
        table = {"reasoning": reasoning} if reasoning else {}
        made = model(weights, slots=4, max_output_tokens=64, **table)
        return Chats(made, engine._prompts, engine._chats._generate, 8192, engine.revision)

    plain = run(chats().answer(chat(**asked))).body["choices"][0]["message"]["content"].strip()
    begin, end = plain[:2], plain[8:11]
    chunks, answer = run(streamed(chats(begin=begin, end=end, medium_tokens=40), chat(**asked)))
    thought = "".join(delta.get("reasoning", "") for delta in deltas(chunks))
    assert thought == plain[2:8].strip() == answer.body["choices"][0]["message"]["reasoning"]


def test_completions_of_several_prompts_come_in_pieces(engine: VLLMEngine, run: Run[Any]) -> None:
    request = completion(prompt=["a", "b c"], n=2, max_tokens=6, min_tokens=6, temperature=1, logprobs=1)
    chunks, answer = run(streamed(engine, request))
    rows = told(chunks, "/v1/completions")
    assert [(row["index"], row["text"]) for row in rows] == [
        (row["index"], row["text"]) for row in answer.body["choices"]
    ]
    assert [row["logprobs"] for row in rows] == [row["logprobs"] for row in answer.body["choices"]]
    assert answer.usage.output_tokens == 24
    assert all(len(row["logprobs"]["tokens"]) == 6 for row in rows)


def test_a_stop_text_is_held_back_and_never_told(engine: VLLMEngine, run: Run[Any]) -> None:
    whole = run(engine.perform(chat(max_tokens=30, min_tokens=1, temperature=0, **QUIET)))
    text = whole.body["choices"][0]["message"]["content"]
    mark = text[len(text) // 2 :][:3]
    chunks, answer = run(streamed(engine, chat(max_tokens=30, temperature=0, stop=[mark], **QUIET)))
    content = told(chunks)[0]["message"]["content"]
    assert content == answer.body["choices"][0]["message"]["content"]
    assert mark not in content


def test_a_form_is_held_while_the_answer_is_told(engine: VLLMEngine, run: Run[Any]) -> None:
    form = {"structured_outputs": {"regex": "[a-z]{20}"}}
    chunks, answer = run(streamed(engine, chat(temperature=0, max_tokens=40, reasoning_effort="low", **form)))
    assert len(told(chunks)[0]["message"]["content"]) == 20
    assert sum("content" in delta for delta in deltas(chunks)) > 3
    assert answer.body["choices"][0]["finish_reason"] == "stop"


def test_a_function_that_is_named_gets_its_arguments_in_pieces(engine: VLLMEngine, run: Run[Any]) -> None:
    choice = {"type": "function", "function": {"name": "look_up"}}
    request = chat(tools=[TOOL], tool_choice=choice, max_tokens=200, temperature=0, **QUIET)
    chunks, answer = run(streamed(engine, request))
    calls = [call for delta in deltas(chunks) for call in delta.get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "look_up"
    assert len(calls) > 2
    (call,) = answer.body["choices"][0]["message"]["tool_calls"]
    assert told(chunks)[0]["message"]["tool_calls"] == [call]
    if answer.body["choices"][0]["finish_reason"] != "length":
        assert json.loads(call["function"]["arguments"])["n"] in (1, 2)
        assert told(chunks)[0]["finish_reason"] == "tool_calls"


WRITES = 'Let me see. <tool_call>\n{"name": "look_up", "arguments": {"n": 1}}\n</tool_call>\n<tool_call>\n{"name": "look_up", "arguments": {"n": 2}}\n</tool_call>'


def calling(engine: VLLMEngine, weights: Path, text: str) -> Any:
    """Chats of a model that calls functions as Hermes does, and writes this text token by token, whatever it is asked."""
    made = model(weights, slots=4, max_output_tokens=64, tool_parser="hermes")
    tokens = engine._prompts.words(text)

    async def generate(prompt: Any, params: Any, request: Any) -> AsyncGenerator[Any, None]:
        from vllm.sampling_params import RequestOutputKind

        parts = [tokens] if params.output_kind == RequestOutputKind.FINAL_ONLY else [[token] for token in tokens]
        for place, part in enumerate(parts, 1):
            ended = "stop" if place == len(parts) else None
            said = engine._prompts.tokenizer.decode(part)
            one = SimpleNamespace(index=0, text=said, token_ids=part, finish_reason=ended, logprobs=None)
            yield SimpleNamespace(outputs=[one], num_cached_tokens=0)

    return Chats(made, engine._prompts, generate, 8192, engine.revision)


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_calls_that_the_model_makes_itself_come_while_it_writes_them(
    engine: VLLMEngine, weights: Path, run: Run[Any], choice: str
) -> None:
    made = calling(engine, weights, WRITES)
    request = chat(tools=[TOOL], tool_choice=choice)
    chunks, answer = run(streamed(made, request))
    message = told(chunks)[0]["message"]
    assert message == answer.body["choices"][0]["message"]
    assert message["content"].strip() == "Let me see."
    assert [call["id"] for call in message["tool_calls"]] == ["call_0", "call_1"]
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [{"n": 1}, {"n": 2}]
    assert told(chunks)[0]["finish_reason"] == answer.body["choices"][0]["finish_reason"] == "tool_calls"
    said = deltas(chunks)
    assert sum("tool_calls" in delta for delta in said) > 4
    first_call = next(place for place, delta in enumerate(said) if "tool_calls" in delta)
    assert (first_call > 1) == (choice == "auto"), "where a call has to be made, no word is told before it"
    at_once = run(made.answer(request)).body["choices"][0]["message"]
    assert [json.loads(call["function"]["arguments"]) for call in at_once["tool_calls"]] == [{"n": 1}, {"n": 2}]


def test_words_alone_are_told_where_a_model_may_call_and_are_a_fault_before_any_word_where_it_must(
    engine: VLLMEngine, weights: Path, run: Run[Any]
) -> None:
    text = "I would rather talk about it at length, and end with what looks like a mark: <tool_c"
    made = calling(engine, weights, text)
    chunks, answer = run(streamed(made, chat(tools=[TOOL])))
    assert len(deltas(chunks)) > 5
    assert told(chunks)[0]["message"] == answer.body["choices"][0]["message"]
    assert told(chunks)[0]["message"]["content"] == text
    seen: list[Chunk] = []

    async def forced() -> None:
        stream = made.stream(chat(tools=[TOOL], tool_choice="required"))
        while True:
            seen.append(await anext(stream))

    with pytest.raises(EngineFault, match="had to call a function") as caught:
        run(forced())
    assert caught.value.retryable
    assert not any(row["delta"] for chunk in seen for row in chunk.choices)


async def idle(engine: VLLMEngine, within_s: float) -> float:
    """Seconds until vLLM has no request left."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while engine._llm.get_num_unfinished_requests():  # noqa: ASYNC110 - its own report is what is waited for
            await asyncio.sleep(0.001)
    return time.monotonic() - began


@pytest.mark.parametrize("how", ["abort", "close", "cancel"])
@pytest.mark.parametrize("body", [{"n": 2, **QUIET}, {"n": 2}], ids=["answers", "thoughts"])
def test_whoever_leaves_a_stream_frees_the_engine_within_a_step(
    engine: VLLMEngine, run: Run[Any], how: str, body: dict[str, Any]
) -> None:
    async def main() -> Usage:
        request = replace(chat(job="job_cut", max_tokens=4000, min_tokens=4000, **body), thinking_tokens=4000)
        stream = engine.stream(request)
        used = [(await anext(stream)).usage for _ in range(5)][-1]
        assert engine._llm.get_num_unfinished_requests() == 2
        if how == "close":
            await stream.aclose()
        elif how == "abort":
            await engine.abort("job_cut")
            with pytest.raises(EngineFault) as caught:
                await anext(stream)
            assert caught.value.fault_code == "aborted"
        else:

            async def more() -> None:
                async for _ in stream:
                    pass

            reading = asyncio.create_task(more())
            await asyncio.sleep(0.05)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert await idle(engine, 2) < 1
        assert used is not None
        return used

    used = run(main())
    assert 5 <= used.output_tokens < 100
    assert (used.reasoning_tokens > 0) == ("reasoning_effort" not in body)


def test_the_path_tells_thoughts_only_to_those_who_ask(cell: Stack) -> None:
    for shown in (True, False):
        asked = {"max_tokens": 6, "min_tokens": 6, "reasoning_effort": "low", "rightsize": {"reasoning": shown}}
        job = cell.submit_now(asking("Tell me.", stream=True, **asked))
        found = read(cell.broker.redis, job.public_id.hex)
        assert found.end["kind"] == "succeeded", found.end
        assert ("reasoning" in found.whole()[0]["message"]) == shown
        assert found.whole()[0]["message"]["content"] == found.body["choices"][0]["message"]["content"]
        assert len(found.pieces) > 1
    cell.must_hold()


def test_a_cut_on_the_path_charges_what_vllm_wrote_until_then(cell: Stack) -> None:
    job = cell.submit_now(asking("Tell me.", stream=True, max_tokens=4000, min_tokens=4000, **QUIET))
    name, found = job.public_id.hex, Read()
    rest = entries(cell.broker.redis, name)
    while len(found.pieces) < 3:
        take(found, *next(rest))
    cell.broker.cut(name)
    for entry in rest:
        take(found, *entry)
    assert found.end["kind"] == "succeeded"
    assert found.body["rightsize_cut"] == {"estimated_usage": False}
    assert found.body["choices"][0]["message"]["content"] == found.text
    (attempt,) = cell.query(
        "SELECT output_tokens, model_revision FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.public_id = :job",
        job=job.public_id,
    )
    assert 3 <= attempt.output_tokens == found.body["usage"]["completion_tokens"] < 4000
    assert "vllm-" in attempt.model_revision
    cell.must_hold()
