"""How a chat or a completion becomes requests of vLLM's engine: one, or with a thought before the answer two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from orchestrator.contracts import Answer
from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from orchestrator.structured import Form, form_of
from workers.engines.answer_body import Read, Written, chat_answer, completion_answer, written
from workers.engines.base import Chunk, EngineRequest
from workers.engines.thinking import ENOUGH, SAMPLED, budget, joined, marks_of, split
from workers.engines.vllm_params import answer_room, sampling
from workers.engines.vllm_prompt import Prompt, Prompts
from workers.engines.vllm_tools import Tools

Generate = Callable[[Prompt, Any, EngineRequest], AsyncIterator[Any]]


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
        form = form_of(body)
        thought = None
        whole = await self._prompts.chat(body, self._begin if self._thinks(body) else "")
        prompt: Prompt | None = whole
        cached: int | None = None
        if self._thinks(body):
            thought, prompt, cached = await self._thought(whole, request, form)
            if prompt is None:
                read = Read(len(whole.tokens), cached)
                yield Chunk(thought.text, chat_answer(request, self._model.name, self._revision, read, [thought]))
                return
        assert prompt is not None  # noqa: S101
        room = answer_room(body, len(prompt.tokens), self._context, self._model.max_output_tokens)
        params = sampling(body, most=room, final_only=False, form=form, n=1)
        pieces: list[str] = [thought.text] if thought is not None and thought.text else []
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
            one = joined(thought, one, "".join(pieces))
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
        thought, following, cached = await self._thought(prompt, request, form)
        if following is None:
            return thought, cached
        room = answer_room(request.body, len(following.tokens), self._context, self._model.max_output_tokens)
        params = sampling(request.body, most=room, form=form, n=1)
        final = await self._final(following, params, request)
        end = written(final.outputs[0], self._tokenizer)
        return joined(thought, end, thought.text + end.text), cached

    async def _thought(
        self, prompt: Prompt, request: EngineRequest, form: Form | None
    ) -> tuple[Written, Prompt | None, int]:
        """The thought of a choice, within its budget; and the prompt from which the answer goes on, or None if it is there.

        Of the `Written`, `text` is what of the answer was written already.
        """
        marks, body = self._marks, request.body
        assert marks is not None and self._model.reasoning is not None  # noqa: S101, PT018 - only called for a model that thinks
        most = budget(self._model, self._model.reasoning, request, len(prompt.tokens), self._context)
        thinking: dict[str, Any] = {key: body[key] for key in SAMPLED if key in body}
        params = sampling(thinking, most=most, form=None, n=1, stop=[marks.end], include_stop_str_in_output=True)
        final = await self._final(prompt, params, request)
        output, cached = final.outputs[0], final.num_cached_tokens or 0
        first = written(output, self._tokenizer)
        found = split(first.text, marks, opened=bool(self._begin))
        if not found.began:
            whole = replace(first, text=found.rest)
            if form is not None:
                return replace(whole, text=""), prompt, cached
            return whole, (self._extended(prompt, output.token_ids, "") if first.finish == "length" else None), cached
        thought = Written("", first.tokens, "stop", found.text, first.tokens)
        closing = "" if found.closed else f"{ENOUGH}{marks.end}\n\n"
        return thought, self._extended(prompt, output.token_ids, closing), cached

    def _extended(self, prompt: Prompt, tokens: Any, closing: str) -> Prompt:
        more = [*prompt.tokens, *self._without_end(tokens), *(self._prompts.words(closing) if closing else ())]
        return Prompt(more, {**prompt.engine_input, "prompt_token_ids": more})

    def _without_end(self, tokens: Any) -> list[int]:
        """Without the end-of-text mark of a thought that the model never closed: the answer follows on it."""
        found = list(tokens)
        return found[:-1] if found and found[-1] == self._tokenizer.eos_token_id else found


def _n(body: dict[str, Any]) -> int:
    return int(body.get("n") or 1)
