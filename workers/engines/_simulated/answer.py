"""What a simulated model says: drawn from the job's id and the seed alone, so that a run can be repeated exactly."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

from orchestrator.contracts import Answer, Usage
from orchestrator.requests import EMBEDDINGS, POOLING, SCORE
from workers.engines._simulated.broken import Fate, as_fated
from workers.engines._simulated.options import Options
from workers.engines.answer_body import Read, classes_answer, embeddings_answer, scores_answer
from workers.engines.base import EngineRequest
from workers.engines.prompt import (
    IMAGE_TOKENS,
    count_images,
    estimate_tokens,
    output_limit,
    prompt_text,
    wanted_choices,
    wanted_rows,
)

_WORDS: Final = Struct("<8Q")
_ONE: Final = float(2**64)
_DIMENSIONS: Final = 16
_LABELS: Final = {0: "LABEL_0", 1: "LABEL_1"}
_MAX_CHOICES: Final = 128
_A_DAY: Final = "2026-01-01"
_MAX_TEXT_CHARS: Final = 16_384
_SENTENCE: Final = "This answer is simulated: no model has read the request. "


def draws(key: str, seed: int) -> tuple[float, ...]:
    """Eight numbers in [0, 1) that follow from a key and a seed."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), salt=seed.to_bytes(16, "little")).digest()
    return tuple(word / _ONE for word in _WORDS.unpack(digest))


def fate_of(job_id: str, options: Options) -> Fate:
    """Whether the answers of a job have the form that was asked for, always the same."""
    return Fate.of(draws(f"form:{job_id}", options.seed), options.breaks, options.mends)


class Voice:
    """Answers requests in the manner of one simulated model."""

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options
        self._ranges = options.reasoning_tokens is not None or options.output_tokens is not None

    def answer(self, request: EngineRequest, text: str | None = None) -> Answer:
        """The answer to a request; `text` is its prompt where that is known already."""
        body = request.body
        prompt = prompt_text(body) if text is None else text
        images = count_images(body)
        input_tokens = estimate_tokens(prompt) + images * IMAGE_TOKENS
        if request.endpoint in POOLING:
            return self._read_only(request, prompt, input_tokens)
        metadata = body.get("metadata")
        expected = metadata.get("expected") if isinstance(metadata, dict) else None
        drawn = draws(request.job_id, self._options.seed) if expected or self._ranges else ()
        labelled = isinstance(metadata, dict) and expected
        said = self._label(body, dict(metadata or {}), drawn) if labelled else self._prose(body, drawn)
        if self._options.breaks:
            said = as_fated(said, body, fate_of(request.job_id, self._options))
        output, reasoning, cut = self._counts(body, said, drawn)
        choices = min(wanted_choices(body), _MAX_CHOICES)
        usage = Usage(input_tokens, 0, output * choices, reasoning * choices, images)
        return self._wrap(request, said, choices, usage, "length" if cut else "stop")

    def _label(self, body: dict[str, Any], metadata: dict[str, Any], drawn: tuple[float, ...]) -> str:
        expected = str(metadata["expected"])
        said = expected
        if drawn[1] >= self._options.accuracy:
            labels = (part.strip() for part in str(metadata.get("labels", "")).split(","))
            others = [label for label in labels if label and label != expected]
            said = others[int(drawn[2] * len(others))] if others else "unknown"
        return _as_format(body, said)

    def _prose(self, body: dict[str, Any], drawn: tuple[float, ...]) -> str:
        if not drawn or self._options.output_tokens is None:
            return _as_format(body, _SENTENCE.rstrip())
        chars = min(_between(self._options.output_tokens, drawn[3]) * 4, _MAX_TEXT_CHARS)
        return _as_format(body, (_SENTENCE * (chars // len(_SENTENCE) + 1))[: max(1, chars)].rstrip())

    def _counts(self, body: dict[str, Any], said: str, drawn: tuple[float, ...]) -> tuple[int, int, bool]:
        """Output tokens of one choice (reasoning among them), reasoning tokens, and whether the limit cut them."""
        options = self._options
        visible = _between(options.output_tokens, drawn[3]) if options.output_tokens else estimate_tokens(said)
        reasoning = _between(options.reasoning_tokens, drawn[4]) if options.reasoning_tokens else 0
        limit = output_limit(body)
        if limit is None or visible + reasoning <= limit:
            return visible + reasoning, reasoning, False
        return limit, min(reasoning, limit), True

    def _wrap(self, request: EngineRequest, said: str, choices: int, usage: Usage, finish: str) -> Answer:
        chat = request.endpoint == "/v1/chat/completions"
        rows = []
        for index in range(choices):
            content = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
            rows.append({"index": index, **content, "finish_reason": finish})
        body = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{request.job_id}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": self._name,
            "choices": rows,
            "usage": usage_body(usage),
            "system_fingerprint": "simulated",
        }
        return Answer(body, usage, "simulated", simulated=True)

    def _read_only(self, request: EngineRequest, prompt: str, input_tokens: int) -> Answer:
        if request.endpoint == EMBEDDINGS:
            return self._embeddings(request, prompt, input_tokens)
        drawn = [draws(f"{index}:{prompt}", self._options.seed)[0] for index in range(wanted_rows(request))]
        read = Read(input_tokens, 0)
        if request.endpoint == SCORE:
            answer = scores_answer(request, self._name, "simulated", read, drawn)
        else:
            rows = [[1 - number, number] for number in drawn]
            answer = classes_answer(request, self._name, "simulated", read, rows, _LABELS)
        return replace(answer, simulated=True)

    def _embeddings(self, request: EngineRequest, prompt: str, input_tokens: int) -> Answer:
        size = request.body.get("dimensions")
        size = size if isinstance(size, int) and 0 < size <= 4096 else _DIMENSIONS
        vectors = []
        for index in range(wanted_rows(request)):
            vector: list[float] = []
            while len(vector) < size:
                vector += [round(2 * x - 1, 6) for x in draws(f"{index}:{len(vector)}:{prompt}", self._options.seed)]
            vectors.append(vector[:size])
        answer = embeddings_answer(request, self._name, "simulated", input_tokens, vectors)
        return replace(answer, simulated=True)


def usage_body(usage: Usage) -> dict[str, Any]:
    """A usage in OpenAI's form."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.reasoning_tokens:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


def _between(bounds: tuple[int, int], drawn: float) -> int:
    low, high = bounds
    return low + int(drawn * (high - low + 1))


def _as_format(body: dict[str, Any], said: str) -> str:
    """The text itself, or the JSON object that `response_format` asks for."""
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return json.dumps({"answer": said}, ensure_ascii=False)
    if kind != "json_schema" or not isinstance(wanted, dict):
        return said
    outer = wanted.get("json_schema")
    schema = outer.get("schema") if isinstance(outer, dict) else None
    return json.dumps(_instance(schema if isinstance(schema, dict) else {}, said, 0), ensure_ascii=False)


def _instance(schema: dict[str, Any], said: str, depth: int) -> Any:
    """A value that fits the usual schemas: the text where a string may stand, else the least value of the type."""
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return said if said in choices else choices[0]
    kind = _kind(schema.get("type"))
    properties = schema.get("properties")
    if (kind == "object" or isinstance(properties, dict)) and depth < 8:
        rows = properties.items() if isinstance(properties, dict) else ()
        return {name: _instance(part, said, depth + 1) for name, part in rows if isinstance(part, dict)}
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return low if isinstance(low, int | float) else 0
    if kind == "array" and depth < 8:
        entry = schema.get("items")
        needed = schema.get("minItems", 0)
        return [_instance(entry if isinstance(entry, dict) else {}, said, depth + 1)] * (
            needed if isinstance(needed, int) else 0
        )
    if schema.get("format") == "date":
        return _A_DAY
    least: dict[str, Any] = {"boolean": False, "array": [], "null": None, "object": {}}
    return least.get(str(kind), said)


def _kind(kind: Any) -> Any:
    """A type, of several the first that says something."""
    return next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind
