"""How a chat or a completion becomes requests of vLLM's engine: one a prompt, or with a thought before the answer two a choice.

What is asked for at once and what is streamed go the same way; only then vLLM tells each step, and otherwise the end alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from orchestrator.structured import Form, form_of
from workers.engines._vllm.output import finish_of, given_up, logprobs_of
from workers.engines._vllm.params import answer_room, sampling
from workers.engines._vllm.prompt import Prompt, Prompts
from workers.engines._vllm.tools import Reading, Tools
from workers.engines.answer_body import Read, chat_answer, completion_answer
from workers.engines.assembly import CHAT
from workers.engines.base import Chunk, EngineRequest
from workers.engines.growing import Growing, Totals
from workers.engines.merged import merged
from workers.engines.prompt import count_images
from workers.engines.thinking import ENOUGH, SAMPLED, Listening, budget, marks_of

Generate = Callable[[Prompt, Any, EngineRequest], AsyncGenerator[Any, None]]
Rows = list[dict[str, Any]]
LOOK: Final = 8
"""Tokens in which a model that begins its thoughts itself shows whether it does."""


@dataclass(slots=True)
class Asked:
    """One request on its way, and what is known of it."""

    request: EngineRequest
    form: Form | None
    prompts: Sequence[Prompt]
    choices: Sequence[Growing]
    thinks: bool
    whole: bool
    """Whether it is told at its end only."""
    images: int
    totals: Totals
    tokens: int
    """Of all prompts together."""
    cached: int = 0
    """How many of them were in the cache, as far as it is known."""
    _known: dict[int, int] = field(default_factory=dict)

    def read(self, place: int, cached: int | None) -> None:
        """Note what of a prompt was in the cache, by the prompt's place, or that of the choice which has a thought of its own."""
        if place not in self._known:
            self._known[place] = cached or 0
            self.cached = self._sum()

    def forget(self, choice: Growing) -> None:
        """Count nothing of what turned out to be no thought: the answer is written anew."""
        choice.count(0, 0)
        self._known.pop(choice.index, None)
        self.cached = self._sum()

    def _sum(self) -> int:
        """A prompt counts once, however many choices it has."""
        found = self._known.values()
        return min(max(found, default=0) if self.thinks else sum(found), self.tokens)

    @property
    def usage(self) -> Usage:
        """All that was consumed so far."""
        return self.totals.usage(Read(self.tokens, self.cached), self.images)


@dataclass(slots=True)
class Thought:
    """Where the answer goes on from: the prompt itself, until a thought was written."""

    following: Prompt


class Chats:
    """The chats and completions of one loaded model."""

    def __init__(self, model: Model, prompts: Prompts, generate: Generate, context: int, revision: str) -> None:
        self._model, self._prompts, self._generate = model, prompts, generate
        self._context, self._revision = context, revision
        self._tokenizer = prompts.tokenizer
        try:
            self._marks = marks_of(model.reasoning, self._tokenizer) if model.reasoning else None
            self._opens = bool(
                model.reasoning and self._marks and (model.reasoning.opens or prompts.opens(self._marks.begin))
            )
            self._tools = Tools(model, self._tokenizer)
        except ValueError as error:
            raise InvalidConfig(f"models.{model.name}: {error}") from None

    async def warm(self) -> None:
        """Write one token."""
        await self.answer(EngineRequest("warm", "/v1/completions", {"prompt": "Hello", "max_tokens": 1}, None, 600.0))

    async def answer(self, request: EngineRequest) -> Answer:
        """The answer to a chat, or to a completion: each of its prompts `n` times."""
        async with aclosing(self._chunks(request, whole=True)) as chunks:
            answers = [chunk.answer async for chunk in chunks if chunk.answer is not None]
        return answers[0]

    def stream(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """The pieces of the same answer, and the Answer."""
        return self._chunks(request, whole=False)

    async def _chunks(self, request: EngineRequest, *, whole: bool) -> AsyncGenerator[Chunk, None]:
        asked = await self._asked(request, whole=whole)
        count = len(asked.choices) // len(asked.prompts)
        if asked.thinks:
            streams = [self._thoughtful(asked, choice) for choice in asked.choices]
        else:
            streams = [
                self._answered(asked, prompt, place, asked.choices[place * count : (place + 1) * count])
                for place, prompt in enumerate(asked.prompts)
            ]
        async with aclosing(merged(streams)) as pieces:
            async for rows in pieces:
                if rows and not whole:
                    yield Chunk(rows, asked.usage, model_revision=self._revision)
        make = chat_answer if request.endpoint == CHAT else completion_answer
        written = [choice.written() for choice in asked.choices]
        answer = make(request, self._model.name, self._revision, Read(asked.tokens, asked.cached), written)
        yield Chunk([], answer.usage, answer, self._revision)

    async def _asked(self, request: EngineRequest, *, whole: bool) -> Asked:
        body, form = request.body, form_of(request.body)
        thinks = request.endpoint == CHAT and self._marks is not None and body.get("reasoning_effort") != "none"
        if request.endpoint == CHAT:
            form = form or self._tools.form_of(body)
            prompts = [await self._prompts.chat(body, self._begin if thinks else "")]
        else:
            given = body["prompt"]
            prompts = [self._prompts.plain(text) for text in ([given] if isinstance(given, str) else given)]
        totals, count = Totals(), len(prompts) * int(body.get("n") or 1)
        choices = [Growing(request.endpoint, index, totals) for index in range(count)]
        tokens = sum(len(prompt.tokens) for prompt in prompts)
        return Asked(request, form, prompts, choices, thinks, whole, count_images(body), totals, tokens)

    @property
    def _begin(self) -> str:
        return f"{self._marks.begin}\n" if self._marks is not None and self._opens else ""

    async def _answered(
        self, asked: Asked, prompt: Prompt, place: int, choices: Sequence[Growing]
    ) -> AsyncGenerator[Rows, None]:
        """The answers to one prompt, one for each of `choices`."""
        body = asked.request.body
        room = answer_room(body, len(prompt.tokens), self._context, self._model.max_output_tokens)
        params = sampling(body, most=room, form=asked.form, final_only=asked.whole, n=len(choices))
        readings = [self._tools.reading(asked.request, whole=asked.whole) for _ in choices]
        async with aclosing(self._generate(prompt, params, asked.request)) as outputs:
            async for output in outputs:
                asked.read(place, output.num_cached_tokens)
                yield [
                    row for one in output.outputs for row in self._said(choices[one.index], one, readings[one.index])
                ]
        if any(choice.finish is None for choice in choices):
            raise given_up()

    def _said(self, choice: Growing, output: Any, reading: Reading) -> Rows:
        """The piece of one choice in one of vLLM's outputs."""
        finish = finish_of(output)
        choice.count(choice.tokens + len(output.token_ids), choice.thought_tokens)
        text, calls = reading.add(output.text, output.token_ids, ended=finish is not None)
        return choice.add(text=text, calls=calls, logprobs=logprobs_of(output, self._tokenizer), finish=finish)

    async def _thoughtful(self, asked: Asked, choice: Growing) -> AsyncGenerator[Rows, None]:
        """One choice with its thought."""
        thought = Thought(asked.prompts[0])
        async with aclosing(self._thinking(asked, choice, thought)) as pieces:
            async for rows in pieces:
                yield rows
        async with aclosing(self._answered(asked, thought.following, choice.index, [choice])) as pieces:
            async for rows in pieces:
                yield rows

    async def _thinking(self, asked: Asked, choice: Growing, thought: Thought) -> AsyncGenerator[Rows, None]:
        """A thought within its budget; nothing where the model begins its answer without one."""
        marks, request, prompt = self._marks, asked.request, asked.prompts[0]
        assert marks is not None and self._model.reasoning is not None  # noqa: S101, PT018 - only called for a model that thinks
        most = budget(self._model, self._model.reasoning, request, len(prompt.tokens), self._context)
        sampled: dict[str, Any] = {key: request.body[key] for key in SAMPLED if key in request.body}
        listening, tokens = Listening(marks, opened=bool(self._begin)), list[int]()
        # One that begins its thoughts itself may begin none: then its answer is written as the caller asked for it.
        for room in (most,) if self._begin else (min(LOOK, most), most - LOOK):
            if room < 1:
                break
            params = sampling(
                sampled,
                most=room,
                form=None,
                n=1,
                final_only=asked.whole,
                stop=[marks.end],
                include_stop_str_in_output=True,
            )
            finish = None
            async with aclosing(self._generate(self._extended(prompt, tokens, ""), params, request)) as outputs:
                async for output in outputs:
                    asked.read(choice.index, output.num_cached_tokens)
                    (one,) = output.outputs
                    finish = finish_of(one)
                    tokens.extend(one.token_ids)
                    choice.count(len(tokens), len(tokens))
                    told = listening.add(one.text)
                    if not listening.may_begin:
                        asked.forget(choice)
                        return
                    yield choice.add(thought=told)
            if finish is None:
                raise given_up()
            if finish == "stop":
                break
        rest = listening.end()
        if not listening.inside:
            asked.forget(choice)
            return
        yield choice.add(thought=rest)
        closing = "" if listening.closed else f"{ENOUGH}{marks.end}\n\n"
        thought.following = self._extended(prompt, tokens, closing)

    def _extended(self, prompt: Prompt, tokens: Any, closing: str) -> Prompt:
        more = [*prompt.tokens, *self._without_end(tokens), *(self._prompts.words(closing) if closing else ())]
        return Prompt(more, {**prompt.engine_input, "prompt_token_ids": more})

    def _without_end(self, tokens: Any) -> list[int]:
        """Without the end-of-text mark of a thought that the model never closed: the answer follows on it."""
        found = list(tokens)
        return found[:-1] if found and found[-1] == self._tokenizer.eos_token_id else found
