"""Models that begin their thoughts themselves, or begin none, on the warm engine: its random model writes the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.contracts import Answer
from tests.vllm.conftest import Run
from tests.vllm.fleet import model
from tests.workers.engines.build import chat
from workers.engines._vllm.chat import Chats
from workers.engines.base import Chunk
from workers.engines.vllm import VLLMEngine

ASKED = {"temperature": 0, "max_tokens": 12, "min_tokens": 12}


def chats(engine: VLLMEngine, weights: Path, **reasoning: Any) -> Chats:
    """The chats of the warm engine, as they are where the fleet says this of its reasoning, or nothing."""
    told = model(weights, slots=4, max_output_tokens=64, **({"reasoning": reasoning} if reasoning else {}))
    return Chats(told, engine._prompts, engine._chats._generate, 8192, engine.revision)


def text(answer: Answer) -> str:
    found: str = answer.body["choices"][0]["message"]["content"]
    return found


async def streamed(chats: Chats) -> list[Chunk]:
    return [chunk async for chunk in chats.stream(chat(**ASKED))]


def test_a_thought_that_the_model_begins_itself_is_kept_apart(engine: VLLMEngine, weights: Path, run: Run[Any]) -> None:
    plain = text(run(chats(engine, weights).answer(chat(**ASKED)))).strip()
    begin, end = plain[:2], plain[8:11]
    assert end not in plain[:8]
    answer = run(chats(engine, weights, begin=begin, end=end, medium_tokens=40).answer(chat(**ASKED)))
    assert answer.body["choices"][0]["message"]["reasoning"] == plain[2:8].strip()
    assert 0 < answer.usage.reasoning_tokens <= 12
    assert answer.usage.output_tokens == answer.usage.reasoning_tokens + 12


def test_a_thought_that_the_model_begins_itself_and_does_not_end_is_closed(
    engine: VLLMEngine, weights: Path, run: Run[Any]
) -> None:
    plain = text(run(chats(engine, weights).answer(chat(**ASKED)))).strip()
    answer = run(chats(engine, weights, begin=plain[:2], medium_tokens=30).answer(chat(**ASKED)))
    assert answer.usage.reasoning_tokens == 30
    assert answer.usage.output_tokens == 30 + 12


def test_a_model_that_begins_no_thought_answers_as_it_was_asked_to(
    engine: VLLMEngine, weights: Path, run: Run[Any]
) -> None:
    plain = run(chats(engine, weights).answer(chat(**ASKED)))
    thoughtful = chats(engine, weights, medium_tokens=60)
    answer = run(thoughtful.answer(chat(**ASKED)))
    assert text(answer) == text(plain)
    assert answer.usage.output_tokens == 12
    assert answer.usage.reasoning_tokens == 0
    assert "reasoning" not in answer.body["choices"][0]["message"]
    chunks = run(streamed(thoughtful))
    assert "".join(chunk.delta for chunk in chunks) == text(plain)


def test_a_form_holds_for_a_model_that_begins_no_thought(engine: VLLMEngine, weights: Path, run: Run[Any]) -> None:
    asked = chat(structured_outputs={"choice": ["left", "right"]})
    answer = run(chats(engine, weights, medium_tokens=60).answer(asked))
    assert text(answer) in ("left", "right")
