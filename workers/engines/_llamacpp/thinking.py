"""Chats with a thought before the answer, on llama.cpp: two completions that go on from the prompt as its template writes it.

llama.cpp has a budget of its own, but only for templates whose marks it knows, and none that is kept beside a form. It is used
where a request has tools, whose calls only llama.cpp's own reading of a chat finds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.fleet import Model, Reasoning
from workers.engines._llamacpp.answer import Choice, Rows
from workers.engines._llamacpp.request import CHAT, COMPLETIONS, Requests
from workers.engines.base import EngineRequest
from workers.engines.thinking import ENOUGH, SAMPLED, Listening, Marks, budget

Whole = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
Events = Callable[[str, dict[str, Any]], AsyncGenerator[dict[str, Any], None]]
_BEHIND: Final = "\n\n"
"""Between a thought's end mark and the answer, as the families that think are trained."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat as its template writes it."""

    text: str
    tokens: int


@dataclass(slots=True)
class Thought:
    """Where the answer goes on from; None until a thought was written."""

    following: str | None = None


class Thinking:
    """The thoughtful chats of one loaded model."""

    def __init__(self, model: Model, requests: Requests, context: int, whole: Whole, events: Events) -> None:
        """`whole` and `events` ask llama.cpp; the model has a table `reasoning`."""
        assert model.reasoning is not None  # noqa: S101
        self._model, self._requests, self._context = model, requests, context
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

    async def prompt(self, request: EngineRequest) -> Prompt:
        """The prompt of a chat, up to where its thought goes on."""
        text = await self._templated(request.body)
        if self._opens and not text.rstrip().endswith(self._marks.begin):
            text += f"{self._marks.begin}\n"
        found = await self._whole("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return Prompt(text, len(found.get("tokens", ())))

    async def written(self, prompt: Prompt, request: EngineRequest, choice: Choice) -> AsyncGenerator[Rows, None]:
        """The pieces of one choice, with a thought of its own."""
        thought = Thought()
        async with aclosing(self._thought(prompt, request, choice, thought)) as pieces:
            async for rows in pieces:
                yield rows
        async with aclosing(self._answering(thought.following, request, choice.index)) as events:
            async for event in events:
                yield choice.hear(event)
        choice.end()

    async def _thought(
        self, prompt: Prompt, request: EngineRequest, choice: Choice, thought: Thought
    ) -> AsyncGenerator[Rows, None]:
        """A thought within its budget; nothing where the model begins its answer without one."""
        marks, body = self._marks, request.body
        most = budget(self._model, self._reasoning, request, prompt.tokens, self._context)
        sampled: dict[str, Any] = {key: body[key] for key in SAMPLED if key in body}
        asked = self._requests.on({**sampled, "max_tokens": most}, prompt.text, choice.index)
        asked |= {"stop": [marks.end], "preserved_tokens": [marks.begin, marks.end]}
        listening, text = Listening(marks, opened=self._opens), ""
        async with aclosing(self._events(COMPLETIONS, asked)) as events:
            async for event in events:
                said = choice.hear_thought(event)
                text += said
                told = listening.add(said)
                if not listening.may_begin:
                    choice.forget()
                    return  # leaving stops it: the answer is written as the caller asked for it
                yield choice.add(thought=told)
        rest = listening.end()
        if not listening.inside:
            choice.forget()
            return
        closing = marks.end if choice.finish == "stop" else f"{ENOUGH}{marks.end}"
        choice.end_thought()
        yield choice.add(thought=rest)
        thought.following = f"{prompt.text}{text}{closing}{_BEHIND}"

    def _answering(
        self, following: str | None, request: EngineRequest, number: int
    ) -> AsyncGenerator[dict[str, Any], None]:
        if following is None:
            return self._events(CHAT, self.otherwise(request, self._requests.of(CHAT, request.body)[number]))
        return self._events(COMPLETIONS, self._requests.on(request.body, following, number))

    async def _templated(self, body: dict[str, Any]) -> str:
        return str((await self._whole("/apply-template", self._requests.messages(body)))["prompt"])
