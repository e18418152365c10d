"""How a chat or a completion becomes requests of vLLM's engine: one, or with a thought before the answer two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.contracts import Answer
from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from orchestrator.structured import Form, form_of
from workers.engines._vllm.output import written
from workers.engines._vllm.params import answer_room, sampling
from workers.engines._vllm.prompt import Prompt, Prompts
from workers.engines._vllm.tools import Tools
from workers.engines.answer_body import Read, Written, chat_answer, completion_answer
from workers.engines.base import Chunk, EngineRequest
from workers.engines.thinking import ENOUGH, SAMPLED, budget, joined, marks_of, may_begin, split

Generate = Callable[[Prompt, Any, EngineRequest], AsyncIterator[Any]]
LOOK: Final = 8
"""Tokens in which a model that begins its thoughts itself shows whether it does."""


@dataclass(frozen=True, slots=True)
class Thought:
    """A thought, where the answer goes on from, and how much of the prompt was in the cache."""

    written: Written
    following: Prompt
    cached: int


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
        request = EngineRequest("warm", "/v1/completions", {"prompt": "Hello", "max_tokens": 1}, None, 600.0)
        await self.complete(request)

    async def complete(self, request: EngineRequest) -> Answer:
        """The answer to a completion: each of its prompts `n` times."""
        body = request.body
        given = body["prompt"]
        prompts = [self._prompts.plain(text) for text in ([given] if isinstance(given, str) else given)]
        finals = await asyncio.gather(*(self._written(prompt, request, form_of(body)) for prompt in prompts))
        read = Read(sum(len(prompt.tokens) for prompt in prompts), sum(cached for _, cached in finals))
        choices = [one for found, _ in finals for one in found]
        return completion_answer(request, self._model.name, self._revision, read, choices)

    async def answer(self, request: EngineRequest) -> Answer:
        """The answer to a chat."""
        body = request.body
        form = form_of(body) or self._tools.form_of(body)
        if self._marks is None or body.get("reasoning_effort") == "none":
            prompt = await self._prompts.chat(body, "")
            choices, cached = await self._written(prompt, request, form)
        else:
            prompt = await self._prompts.chat(body, self._begin)
            thoughtful = await asyncio.gather(*(self._thought_through(prompt, request, form) for _ in range(_n(body))))
            choices, cached = [one for one, _ in thoughtful], max(cached for _, cached in thoughtful)
        if body.get("tools"):
            choices = [self._tools.read(one, body) for one in choices]
        read = Read(len(prompt.tokens), min(cached, len(prompt.tokens)))
        return chat_answer(request, self._model.name, self._revision, read, choices)

    async def stream(self, request: EngineRequest) -> AsyncIterator[Chunk]:
        """The pieces of one answer; a thought comes whole before them, in the last chunk's body."""
        body = request.body
        whole = await self._prompts.chat(body, self._begin if self._thinks(body) else "")
        thought = await self._thought(whole, request) if self._thinks(body) else None
        prompt, cached = (thought.following, thought.cached) if thought else (whole, None)
        room = answer_room(body, len(prompt.tokens), self._context, self._model.max_output_tokens)
        params = sampling(body, most=room, final_only=False, form=form_of(body), n=1)
        pieces: list[str] = []
        tokens, last = 0, None
        async for output in self._generate(prompt, params, request):
            last = output
            cached = output.num_cached_tokens if cached is None else cached
            tokens += len(output.outputs[0].token_ids)
            if delta := output.outputs[0].text:
                pieces.append(delta)
                yield Chunk(delta)
        end = written(last.outputs[0], self._tokenizer) if last else None
        one = Written("".join(pieces), tokens, end.finish if end else "stop")
        if thought is not None:
            one = joined(thought.written, one)
        read = Read(len(whole.tokens), min(cached or 0, len(whole.tokens)))
        yield Chunk("", chat_answer(request, self._model.name, self._revision, read, [one]))

    @property
    def _begin(self) -> str:
        return f"{self._marks.begin}\n" if self._marks is not None and self._opens else ""

    def _thinks(self, body: dict[str, Any]) -> bool:
        return self._marks is not None and body.get("reasoning_effort") != "none"

    async def _written(self, prompt: Prompt, request: EngineRequest, form: Form | None) -> tuple[list[Written], int]:
        """The `n` choices of one prompt, and how many of its tokens were in the cache."""
        body = request.body
        room = answer_room(body, len(prompt.tokens), self._context, self._model.max_output_tokens)
        final = await self._final(prompt, sampling(body, most=room, form=form), request)
        return [written(output, self._tokenizer) for output in final.outputs], final.num_cached_tokens or 0

    async def _final(self, prompt: Prompt, params: Any, request: EngineRequest) -> Any:
        final = None
        async for output in self._generate(prompt, params, request):
            final = output
        return final

    async def _thought_through(self, prompt: Prompt, request: EngineRequest, form: Form | None) -> tuple[Written, int]:
        """One choice with its thought."""
        thought = await self._thought(prompt, request)
        following = thought.following if thought else prompt
        room = answer_room(request.body, len(following.tokens), self._context, self._model.max_output_tokens)
        final = await self._final(following, sampling(request.body, most=room, form=form, n=1), request)
        end = written(final.outputs[0], self._tokenizer)
        if thought is None:
            return end, final.num_cached_tokens or 0
        return joined(thought.written, end), thought.cached

    async def _thought(self, prompt: Prompt, request: EngineRequest) -> Thought | None:
        """A thought within its budget; None where the model begins its answer without one."""
        marks, body = self._marks, request.body
        assert marks is not None and self._model.reasoning is not None  # noqa: S101, PT018 - only called for a model that thinks
        most = budget(self._model, self._model.reasoning, request, len(prompt.tokens), self._context)
        thinking: dict[str, Any] = {key: body[key] for key in SAMPLED if key in body}
        text, tokens, cached = "", list[int](), 0
        # One that begins its thoughts itself may begin none: then its answer is written as the caller asked for it.
        for room in (most,) if self._begin else (min(LOOK, most), most - LOOK):
            if room < 1:
                break
            params = sampling(thinking, most=room, form=None, n=1, stop=[marks.end], include_stop_str_in_output=True)
            final = await self._final(self._extended(prompt, tokens, ""), params, request)
            first = written(final.outputs[0], self._tokenizer)
            cached = cached if tokens else final.num_cached_tokens or 0
            text, tokens = text + first.text, [*tokens, *final.outputs[0].token_ids]
            if not self._begin and not may_begin(text, marks.begin):
                return None
            if first.finish == "stop":
                break
        found = split(text, marks, opened=bool(self._begin))
        if not found.began:
            return None
        closing = "" if found.closed else f"{ENOUGH}{marks.end}\n\n"
        said = Written("", len(tokens), "stop", found.text, len(tokens))
        return Thought(said, self._extended(prompt, tokens, closing), cached)

    def _extended(self, prompt: Prompt, tokens: Any, closing: str) -> Prompt:
        more = [*prompt.tokens, *self._without_end(tokens), *(self._prompts.words(closing) if closing else ())]
        return Prompt(more, {**prompt.engine_input, "prompt_token_ids": more})

    def _without_end(self, tokens: Any) -> list[int]:
        """Without the end-of-text mark of a thought that the model never closed: the answer follows on it."""
        found = list(tokens)
        return found[:-1] if found and found[-1] == self._tokenizer.eos_token_id else found


def _n(body: dict[str, Any]) -> int:
    return int(body.get("n") or 1)
