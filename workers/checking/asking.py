"""What a model is asked: one question for each kind of request that its engine claims, and the requests of the load. Pure."""

from __future__ import annotations

import base64
import io
import itertools
import math
import random
import struct
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from orchestrator.fleet import Model
from orchestrator.requests import CHAT, CLASSIFY, SCORE
from workers.checking import soundness
from workers.checking.soundness import SCHEMA, Judge
from workers.engines.base import EngineLimits, EngineRequest

COMPLETION: Final = "/v1/completions"
EMBEDDING: Final = "/v1/embeddings"
ANSWER_TOKENS: Final = 64
"""Of each request under load: long enough that writing counts more than reading."""
WORDS: Final = (
    "river", "stone", "garden", "letter", "window", "market", "engine", "winter", "paper", "harbour", "number", "table",
    "signal", "forest", "bridge", "summer", "copper", "candle", "valley", "button",
)  # fmt: skip
_SIDE: Final = 64
_SOUND_HZ: Final = 16_000
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Question:
    """One request, and how its answer is judged."""

    kind: str
    request: EngineRequest
    judge: Judge


Maker = Callable[[int, int], EngineRequest]
"""Makes a request of about so many input tokens and at most so many output tokens; no two begin alike."""


def questions(model: Model, limits: EngineLimits, task: str | None) -> Iterator[Question]:
    """A question for each kind that an engine claims; `task` is what a specialist is asked as."""
    if CHAT in limits.endpoints:
        yield Question("text", chat(model, "What is the capital of France?", task=task), soundness.text)
        if model.reasoning is not None:
            body = {"reasoning_effort": "low"}
            sum_ = "A train leaves at 9:40 and takes 95 minutes. When does it arrive?"
            yield Question("reasoning", chat(model, sum_, **body), soundness.reasoning(model.reasoning))
        for name in model.adapters:
            adapted = replace(chat(model, "What is the capital of France?", task=task), adapter=name)
            yield Question(f"adapter {name}", adapted, soundness.text)
    if limits.structured and CHAT in limits.endpoints:
        wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
        asked = "Describe Paris as JSON: city, inhabitants, and size (small or large)."
        yield Question("json", chat(model, asked, response_format=wanted), soundness.structured)
    if limits.images:
        url = f"data:image/png;base64,{base64.b64encode(red_square()).decode()}"
        parts = [
            {"type": "text", "text": "Which colour has this image? Answer with one word."},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        yield Question("image", chat(model, parts), soundness.image)
    if limits.audio:
        sound = {"data": base64.b64encode(tone()).decode(), "format": "wav"}
        parts = [
            {"type": "text", "text": "What do you hear?"},
            {"type": "input_audio", "input_audio": sound},
        ]
        yield Question("audio", chat(model, parts), soundness.text)
    if COMPLETION in limits.endpoints:
        start = {"prompt": "The capital of France is", "max_tokens": ANSWER_TOKENS}
        yield Question("completion", request(model, COMPLETION, start), soundness.text)
    if EMBEDDING in limits.endpoints:
        texts = {"input": ["A river in winter", "A letter about a table"]}
        yield Question("embedding", request(model, EMBEDDING, texts), soundness.vectors(2))
    if CLASSIFY in limits.endpoints:
        texts = {"input": ["A river in winter", "A letter about a table"]}
        yield Question("classes", request(model, CLASSIFY, texts), soundness.numbers(2, "probs"))
    if SCORE in limits.endpoints:
        pairs = {"queries": "Where is the river?", "documents": ["A river in winter", "A letter about a table"]}
        yield Question("scores", request(model, SCORE, pairs), soundness.numbers(2, "score"))


def chat(model: Model, content: Any, *, task: str | None = None, **more: Any) -> EngineRequest:
    """A chat request; a model that deliberates has room for its thoughts."""
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": _room(model, 256), **more}
    return request(model, CHAT, body, task)


def request(model: Model, endpoint: str, body: dict[str, Any], task: str | None = None) -> EngineRequest:
    """A request with an id of its own."""
    full = {"model": model.name, **body}
    return EngineRequest(f"job_check_{next(_numbers)}", endpoint, full, task, model.timeout_s)


def load_maker(model: Model, kinds: frozenset[str], task: str | None) -> Maker | None:
    """How to make the requests of the load, from the kinds that were answered soundly; None where none was.

    A model that deliberates is loaded by completions where it has them: without the chat's template it writes at once.
    """
    if "text" in kinds and not (model.reasoning and "completion" in kinds):
        return lambda size, most: _chat_load(model, size, most, task)
    if "completion" in kinds:
        return lambda size, most: request(
            model, COMPLETION, {"prompt": prompt(size), "max_tokens": most, "temperature": 0.0}
        )
    if "embedding" in kinds:
        return lambda size, _most: request(model, EMBEDDING, {"input": prompt(size)})
    if "classes" in kinds:
        return lambda size, _most: request(model, CLASSIFY, {"input": prompt(size)})
    if "scores" in kinds:
        return lambda size, _most: request(model, SCORE, {"queries": "Where is it?", "documents": prompt(size)})
    return None


def _chat_load(model: Model, size: int, most: int, task: str | None) -> EngineRequest:
    asked = f"{prompt(size)} Write the numbers from one to two hundred in words."
    body = {
        "messages": [{"role": "user", "content": asked}],
        "max_tokens": most if most == 1 else _room(model, most),
        "temperature": 0.0,
    }
    return request(model, CHAT, body, task)


def prompt(tokens: int) -> str:
    """A text of about so many tokens. It begins with a number of its own, so that no cache of prefixes helps."""
    dice = random.Random(next(_numbers))  # noqa: S311 - any words will do
    return " ".join([f"{dice.random():.12f}", *dice.choices(WORDS, k=max(0, tokens - 8))])


def red_square() -> bytes:
    """A small PNG that is red all over."""
    row = b"\0" + b"\xe0\x10\x10" * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(row * _SIDE)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tone() -> bytes:
    """A second of a plain tone, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_SOUND_HZ)
        heights = (int(12_000 * math.sin(2 * math.pi * 440 * place / _SOUND_HZ)) for place in range(_SOUND_HZ))
        sound.writeframes(struct.pack(f"<{_SOUND_HZ}h", *heights))
    return file.getvalue()


def _room(model: Model, tokens: int) -> int:
    return tokens + (model.reasoning.low_tokens if model.reasoning else 0)
