"""What vLLM's pooling models answer: embeddings, classes of a text, and scores of pairs. They read, and write no text.

A cross-encoder reads query and document together; a model for embeddings reads each alone, and its score is the cosine of the
two. Usage counts what the model read: a query that is compared with many documents once for each by a cross-encoder, and
once in all by a model for embeddings.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.errors import EngineFault
from orchestrator.fleet import Model
from orchestrator.requests import CLASSIFY, EMBEDDINGS, SCORE, score_pairs
from workers.engines._vllm.prompt import Prompt, Prompts
from workers.engines.answer_body import Read, classes_answer, embeddings_answer, scores_answer
from workers.engines.base import Answer, EngineRequest, bad_request

Encode = Callable[[Prompt, Any, EngineRequest], Awaitable[Any]]
"""Runs one prompt through the model; gives vLLM's finished output, or raises EngineFault."""
_TOGETHER: Final = 64
"""So many texts are tokenised between two turns of the loop."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """One prompt that was read: the numbers that came of it, and its tokens."""

    numbers: list[float]
    read: Read


class Pools:
    """The embeddings, classes and scores of one loaded model."""

    def __init__(self, model: Model, prompts: Prompts, encode: Encode, llm: Any, tasks: Sequence[str]) -> None:
        self._model, self._prompts, self._encode = model, prompts, encode
        self._context: int = llm.model_config.max_model_len
        labels = getattr(llm.model_config.hf_config, "id2label", None) or {}
        self._labels: dict[int, str] = {int(index): str(label) for index, label in labels.items()}
        self._pairs: Any = None
        found = set()
        if "embed" in tasks:
            found |= {EMBEDDINGS, SCORE}
        if "classify" in tasks:
            found.add(CLASSIFY)
            if getattr(llm.model_config.hf_config, "num_labels", 0) == 1:
                found.add(SCORE)
                self._pairs = _cross_encoder(llm)
        self.endpoints: frozenset[str] = frozenset(found)

    async def warm(self, request: EngineRequest) -> None:
        """Read one short text."""
        await self._read(self._prompts.plain("warm"), "classify" if CLASSIFY in self.endpoints else "embed", request)

    async def answer(self, request: EngineRequest, revision: str) -> Answer:
        """The answer to a request of one of these kinds."""
        name = self._model.name
        if request.endpoint == SCORE:
            scored = await (self._crossed(request) if self._pairs is not None else self._compared(request))
            return scores_answer(request, name, revision, *scored)
        found = await self._texts(request, "embed" if request.endpoint == EMBEDDINGS else "classify")
        read, rows = _sum(found), [one.numbers for one in found]
        if request.endpoint == EMBEDDINGS:
            return embeddings_answer(request, name, revision, read.tokens, rows)
        return classes_answer(request, name, revision, read, rows, self._labels)

    async def _texts(self, request: EngineRequest, task: str) -> list[Numbers]:
        given = request.body.get("input")
        prompts = await self._prepared([given] if isinstance(given, str) else list(given or ()))
        return await self._all(prompts, task, request)

    async def _compared(self, request: EngineRequest) -> tuple[Read, list[float]]:
        """Scores by a model for embeddings: each text that is asked about is read once."""
        pairs = score_pairs(request.body)
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        found = dict(zip(texts, await self._all(await self._prepared(texts), "embed", request), strict=True))
        scores = [_cosine(found[one].numbers, found[other].numbers) for one, other in pairs]
        return _sum(found.values()), scores

    async def _crossed(self, request: EngineRequest) -> tuple[Read, list[float]]:
        """Scores by a cross-encoder."""
        ready = []
        for place, (one, other) in enumerate(score_pairs(request.body)):
            if place % _TOGETHER == 0:
                await asyncio.sleep(0)
            ready.append(self._pair(one, other))
        self._check([prompt for prompt, _ in ready])
        found = await asyncio.gather(*(self._read(prompt, "classify", request, more) for prompt, more in ready))
        return _sum(found), [one.numbers[0] for one in found]

    def _pair(self, one: str, other: str) -> tuple[Prompt, dict[str, Any]]:
        """The prompt of a pair, and what vLLM must know of it: where the second text begins."""
        from vllm.entrypoints.pooling.scoring.utils import compress_token_type_ids

        texts = self._prompts.harmless(one), self._prompts.harmless(other)
        try:
            _, made = self._pairs.get_score_prompt(*texts, {"add_special_tokens": True})
        except (ValueError, TypeError) as error:
            raise bad_request(f"The model cannot take this pair of texts: {str(error)[:300]}") from None
        kinds = made.get("token_type_ids")
        more = {"compressed_token_type_ids": compress_token_type_ids(kinds)} if kinds else {}
        return self._prompts.of(list(made["prompt_token_ids"])), more

    async def _prepared(self, texts: Sequence[str]) -> list[Prompt]:
        prompts = []
        for place, text in enumerate(texts):
            if place % _TOGETHER == 0:
                await asyncio.sleep(0)
            prompts.append(self._prompts.plain(text))
        self._check(prompts)
        return prompts

    def _check(self, prompts: Sequence[Prompt]) -> None:
        longest = max((len(prompt.tokens) for prompt in prompts), default=0)
        if longest > self._context:
            raise bad_request(
                f"A text has {longest} tokens, more than the model's {self._context}. Shorten it.",
                "context_length_exceeded",
            )
        if any(not prompt.tokens for prompt in prompts):
            raise bad_request("A text is empty. Leave it out.")

    async def _all(self, prompts: Sequence[Prompt], task: str, request: EngineRequest) -> list[Numbers]:
        return list(await asyncio.gather(*(self._read(prompt, task, request) for prompt in prompts)))

    async def _read(
        self, prompt: Prompt, task: str, request: EngineRequest, more: dict[str, Any] | None = None
    ) -> Numbers:
        from vllm import PoolingParams

        params = PoolingParams(
            task=task,
            dimensions=request.body.get("dimensions") if request.endpoint == EMBEDDINGS else None,
            use_activation=request.body.get("use_activation"),
            extra_kwargs=more or None,
        )
        output = await self._encode(prompt, params, request)
        numbers: list[float] = output.outputs.data.float().flatten().tolist()
        if not all(map(math.isfinite, numbers)):
            message = "The model gave something that is no number (NaN or infinite) for this text."
            raise EngineFault(message, code="bad_answer", retryable=False)
        return Numbers(numbers, Read(len(prompt.tokens), min(output.num_cached_tokens or 0, len(prompt.tokens))))


def _cross_encoder(llm: Any) -> Any:
    """VLLM's own reader of pairs: it knows each model's form of them."""
    from vllm.entrypoints.pooling.scoring.io_processor import CrossEncoderIOProcessor
    from vllm.renderers.chat_utils import ChatTemplateConfig

    return CrossEncoderIOProcessor(llm.vllm_config, llm.renderer, ChatTemplateConfig())


def _sum(found: Any) -> Read:
    rows = list(found)
    return Read(sum(one.read.tokens for one in rows), sum(one.read.cached for one in rows))


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.sqrt(math.fsum(x * x for x in one) * math.fsum(x * x for x in other))
    return math.fsum(x * y for x, y in zip(one, other, strict=True)) / lengths if lengths else 0.0
