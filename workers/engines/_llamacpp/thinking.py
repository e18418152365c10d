"""Chats with a thought before the answer, on llama.cpp: two completions that go on from the prompt as its template writes it.

llama.cpp has a budget of its own, but only for templates whose marks it knows, and none that is kept beside a form. It is used
where a request has tools, whose calls only llama.cpp's own reading of a chat finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.contracts import Answer
from orchestrator.fleet import Model, Reasoning
from workers.engines._llamacpp.answer import Growing
from workers.engines._llamacpp.request import CHAT, COMPLETIONS, Requests
from workers.engines.answer_body import Read, Written, chat_answer
from workers.engines.base import Chunk, EngineRequest
from workers.engines.thinking import ENOUGH, SAMPLED, Marks, budget, joined, may_begin, split

Whole = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
Events = Callable[[str, dict[str, Any]], AsyncGenerator[dict[str, Any], None]]
_BEHIND: Final = "\n\n"
"""Between a thought's end mark and the answer, as the families that think are trained."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat as its template writes it."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Thought:
    """A thought, where the answer goes on from, and what of the prompt was read for it."""

    written: Written
    following: str
    read: Read


class Thinking:
    """The thoughtful chats of one loaded model."""

    def __init__(
        self, model: Model, requests: Requests, context: int, revision: str, whole: Whole, events: Events
    ) -> None:
        """`whole` and `events` ask llama.cpp; the model has a table `reasoning`."""
        assert model.reasoning is not None  # noqa: S101
        self._model, self._requests, self._revision, self._context = model, requests, revision, context
        self._reasoning: Reasoning = model.reasoning
        self._whole, self._events = whole, events
        self._marks = Marks(model.reasoning.begin, model.reasoning.end)
        self._opens = model.reasoning.opens

    async def look(self) -> None:
        """See whether the model's own template begins a thought."""
        text = await self._templated({"messages": [{"role": "user", "content": "Hello"}]})
        self._opens = self._opens or text.rstrip().endswith(self._marks.begin)

    def takes(self, request: EngineRequest) -> bool:
        """Whether a request is to be thought about here."""
        body = request.body
        return request.endpoint == CHAT and body.get("reasoning_effort") != "none" and not body.get("tools")

    def otherwise(self, request: EngineRequest, asked: dict[str, Any]) -> dict[str, Any]:
        """A chat that is not thought about here, with what it tells llama.cpp of thinking."""
        if request.body.get("reasoning_effort") == "none":
            told = asked.get("chat_template_kwargs") or {}
            return {**asked, "chat_template_kwargs": {"enable_thinking": False, **told}}
        most = request.thinking_tokens or self._reasoning.tokens_for(request.body.get("reasoning_effort"))
        return {**asked, "thinking_budget_tokens": most}

    async def answer(self, request: EngineRequest) -> Answer:
        """The answer with its `n` choices, each with a thought of its own."""
        many = len(self._requests.of(CHAT, request.body))
        prompt = await self._prompt(request)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._choice(prompt, request, number)) for number in range(many)]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        found = [task.result() for task in tasks]
        return self._made(request, found[0][1], [choice for choice, _ in found])

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """The pieces of one answer; its thought comes whole, in the last chunk's body."""
        prompt = await self._prompt(request)
        thought = await self._thought(prompt, request, 0)
        growing = Growing()
        async with aclosing(self._answering(thought, request, 0)) as events:
            async for event in events:
                if delta := growing.add(event):
                    yield Chunk(delta)
        choice, read = await self._whole_of(thought, growing)
        yield Chunk("", self._made(request, read, [choice]))

    async def _choice(self, prompt: Prompt, request: EngineRequest, number: int) -> tuple[Written, Read]:
        thought = await self._thought(prompt, request, number)
        growing = Growing()
        async with aclosing(self._answering(thought, request, number)) as events:
            async for event in events:
                growing.add(event)
        return await self._whole_of(thought, growing)

    async def _thought(self, prompt: Prompt, request: EngineRequest, number: int) -> Thought | None:
        """A thought within its budget; None where the model begins its answer without one."""
        marks, body = self._marks, request.body
        most = budget(self._model, self._reasoning, request, prompt.tokens, self._context)
        sampled: dict[str, Any] = {key: body[key] for key in SAMPLED if key in body}
        asked = self._requests.on({**sampled, "max_tokens": most}, prompt.text, number)
        asked |= {"stop": [marks.end], "preserved_tokens": [marks.begin, marks.end]}
        growing, text = Growing(), ""
        async with aclosing(self._events(COMPLETIONS, asked)) as events:
            async for event in events:
                text += growing.add(event)
                if not self._opens and not may_begin(text, marks.begin):
                    return None  # leaving stops it: the answer is written as the caller asked for it
        first = growing.written()
        found = split(first.text, marks, opened=self._opens)
        if not found.began:
            return None
        closing = marks.end if first.finish == "stop" else f"{ENOUGH}{marks.end}"
        read = Read(*growing.read())
        return Thought(
            Written("", first.tokens, "stop", found.text, first.tokens),
            f"{prompt.text}{first.text}{closing}{_BEHIND}",
            read,
        )

    def _answering(
        self, thought: Thought | None, request: EngineRequest, number: int
    ) -> AsyncGenerator[dict[str, Any], None]:
        if thought is None:
            return self._events(CHAT, self.otherwise(request, self._requests.of(CHAT, request.body)[number]))
        return self._events(COMPLETIONS, self._requests.on(request.body, thought.following, number))

    async def _prompt(self, request: EngineRequest) -> Prompt:
        text = await self._templated(request.body)
        if self._opens and not text.rstrip().endswith(self._marks.begin):
            text += f"{self._marks.begin}\n"
        found = await self._whole("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return Prompt(text, len(found.get("tokens", ())))

    async def _templated(self, body: dict[str, Any]) -> str:
        return str((await self._whole("/apply-template", self._requests.messages(body)))["prompt"])

    async def _whole_of(self, thought: Thought | None, answer: Growing) -> tuple[Written, Read]:
        end = answer.written()
        if thought is None:
            await count(self._whole, end)
            return end, Read(*answer.read())
        return joined(thought.written, end), thought.read

    def _made(self, request: EngineRequest, read: Read, choices: list[Written]) -> Answer:
        return chat_answer(request, self._model.name, self._revision, read, choices)


async def count(whole: Whole, choice: Written) -> None:
    """Count the tokens of a thought that llama.cpp itself told from the answer."""
    if choice.thought is not None:
        found = await whole("/tokenize", {"content": choice.thought, "add_special": False})
        choice.thought_tokens = min(len(found.get("tokens", ())), choice.tokens)
