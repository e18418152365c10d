"""A thought with a budget on llama.cpp: SmolLM2 does not reason, but writes on where a thought is begun for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from tests.weights import smollm2_gguf
from tests.workers.engines.build import chat
from tests.workers.engines.test_llamacpp import text_of, with_engine
from workers.engines.base import EngineRequest

OPENS = {"opens": True, "low_tokens": 12, "medium_tokens": 24}
FORM = {"structured_outputs": {"regex": "[a-z]{8}"}, "temperature": 0}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def message(answer: Answer, index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = answer.body["choices"][index]["message"]
    return found


def budgeted(request: EngineRequest, tokens: int) -> EngineRequest:
    return replace(request, thinking_tokens=tokens)


def test_a_thought_is_kept_apart_and_its_tokens_are_counted_apart() -> None:
    async def body(made: Any) -> None:
        answer = await made.perform(chat(reasoning_effort="low", **FORM))
        told = message(answer)
        assert told["reasoning"]
        assert "think>" not in told["reasoning"] + told["content"]
        assert len(told["content"]) == 8
        usage = answer.usage
        assert 0 < usage.reasoning_tokens <= 12
        assert usage.reasoning_tokens < usage.output_tokens <= usage.reasoning_tokens + 9
        assert answer.body["usage"]["completion_tokens_details"]["reasoning_tokens"] == usage.reasoning_tokens

    with_engine(body, reasoning=OPENS)


def test_a_thought_past_its_budget_is_closed_and_the_answer_is_whole() -> None:
    async def body(made: Any) -> None:
        for tokens in (1, 7, 20):
            answer = await made.perform(budgeted(chat("Tell a long story.", max_tokens=9, **FORM), tokens))
            assert 0 < answer.usage.reasoning_tokens <= tokens
            assert len(text_of(answer)) == 8
            assert answer.body["choices"][0]["finish_reason"] == "stop"
        # In a context that would not hold it, the budget leaves room for the answer.
        answer = await made.perform(budgeted(chat("Tell a long story.", max_tokens=900, **FORM), 100_000))
        assert answer.usage.reasoning_tokens <= 100
        assert len(text_of(answer)) == 8

    with_engine(body, reasoning=OPENS)


def test_the_prompt_counts_once_and_the_answer_goes_on_from_the_thought_in_the_cache() -> None:
    async def body(made: Any) -> None:
        asked: list[dict[str, Any]] = []
        events = made._thinking._events

        def noted(path: str, one: dict[str, Any]) -> Any:
            asked.append(one)
            return events(path, one)

        made._thinking._events = noted
        answer = await made.perform(budgeted(chat("Say hello.", **FORM), 5))
        thought, after = (one["prompt"] for one in asked)
        assert thought.endswith("<think>\n")
        assert after.startswith(thought)
        assert after.endswith("\n</think>\n\n")
        assert message(answer)["reasoning"] in after
        quiet = await made.perform(chat("Say hello.", reasoning_effort="none", **FORM))
        assert 0 < answer.usage.input_tokens - quiet.usage.input_tokens <= 8, "the mark, and no thought"

    with_engine(body, reasoning=OPENS, slots=1)


def test_a_stream_is_the_answer_and_its_last_chunk_has_the_thought() -> None:
    async def body(made: Any) -> None:
        chunks = [chunk async for chunk in made.stream(chat(reasoning_effort="low", **FORM))]
        answer = chunks[-1].answer
        assert answer is not None
        assert "".join(chunk.delta for chunk in chunks) == text_of(answer)
        assert len(text_of(answer)) == 8
        assert message(answer)["reasoning"]
        assert answer.usage.reasoning_tokens > 0

    with_engine(body, reasoning=OPENS)


def test_each_of_several_answers_has_its_own_thought_and_all_are_counted() -> None:
    async def body(made: Any) -> None:
        one = await made.perform(budgeted(chat(seed=1, structured_outputs={"regex": "[a-z]{8}"}), 6))
        three = await made.perform(budgeted(chat(seed=1, n=3, structured_outputs={"regex": "[a-z]{8}"}), 6))
        assert message(three)["reasoning"] == message(one)["reasoning"]
        assert len({message(three, index)["reasoning"] for index in range(3)}) > 1, "each has a seed of its own"
        assert three.usage.input_tokens == one.usage.input_tokens
        assert 3 < three.usage.reasoning_tokens <= 18
        with pytest.raises(EngineFault):
            await made.perform(chat(n=100_000))

    with_engine(body, reasoning=OPENS)


def test_logprobs_and_stops_are_for_the_answer() -> None:
    async def body(made: Any) -> None:
        asked = chat(logprobs=True, top_logprobs=2, stop=["d"], structured_outputs={"regex": "abcdef"})
        answer = await made.perform(budgeted(asked, 6))
        assert text_of(answer) == "abc"
        rows = answer.body["choices"][0]["logprobs"]["content"]
        assert all(row["logprob"] <= 0 and len(row["top_logprobs"]) == 2 for row in rows)
        assert message(answer)["reasoning"]

    with_engine(body, reasoning=OPENS)


def test_no_effort_is_no_thought_and_neither_is_a_model_without_the_table() -> None:
    async def body(made: Any) -> None:
        answer = await made.perform(chat(reasoning_effort="none", **FORM))
        assert "reasoning" not in message(answer)
        assert answer.usage.reasoning_tokens == 0

    async def plain(made: Any) -> None:
        answer = await made.perform(budgeted(chat(reasoning_effort="high", **FORM), 50))
        assert "reasoning" not in message(answer)

    with_engine(body, reasoning=OPENS)
    with_engine(plain)


def test_a_model_that_does_not_begin_to_think_answers_as_it_was_asked_to() -> None:
    async def body(made: Any) -> None:
        answer = await made.perform(chat("Say hello.", max_tokens=5, temperature=0, reasoning_effort="high"))
        assert "reasoning" not in message(answer)
        assert 0 < answer.usage.output_tokens <= 5
        held = await made.perform(chat("Say hello.", **FORM))
        assert len(text_of(held)) == 8

    with_engine(body, reasoning={})


def test_a_template_that_begins_the_thought_is_seen_and_the_mark_stands_once(tmp_path: Path) -> None:
    own = tmp_path / "thinks.gguf"
    begins, begun = b"<|im_start|>assistant\n", b"<|im_start|>a\n<think>\n"
    whole = smollm2_gguf().read_bytes()
    assert whole.count(begins) == 1
    assert len(begins) == len(begun)
    own.write_bytes(whole.replace(begins, begun))

    async def body(made: Any) -> None:
        prompt = await made._thinking.prompt(chat("Hello <think>"))
        assert prompt.text.count("<think>") == 2, "the caller's own word, and one mark"
        answer = await made.perform(budgeted(chat(**FORM), 6))
        assert message(answer)["reasoning"]
        assert len(text_of(answer)) == 8

    with_engine(body, path=own, reasoning={})


def test_a_request_with_tools_keeps_llama_cpps_own_reading_and_its_budget() -> None:
    async def body(made: Any) -> None:
        made._requests._tools = True  # as for a model whose template has a place for them
        (asked,) = made._asked(budgeted(chat("Look!", tools=[TOOL]), 77))
        assert (asked["thinking_budget_tokens"], asked["tools"]) == (77, [TOOL])
        assert made._asked(chat("Look!", tools=[TOOL]))[0]["thinking_budget_tokens"] == OPENS["medium_tokens"]
        assert text_of(await made.perform(chat("Look!", tools=[TOOL], max_tokens=9, temperature=0)))

    with_engine(body, reasoning=OPENS)


def test_an_abort_in_the_midst_of_a_thought_ends_it() -> None:
    async def body(made: Any) -> None:
        task = asyncio.create_task(made.perform(budgeted(chat("Tell a very long story.", job="job_a"), 800)))
        while not made.load_now().running:  # noqa: ASYNC110 - the engine's own report is what is waited for
            await asyncio.sleep(0)
        await made.abort("job_a")
        with pytest.raises(EngineFault) as caught:
            await task
        assert caught.value.fault_code == "aborted"
        assert made.load_now().running == 0

    with_engine(body, reasoning=OPENS)
