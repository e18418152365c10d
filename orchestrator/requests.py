"""What a caller's body asks for: checked against an allow-list with caps, and read for the features that routing needs. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, get_args

from orchestrator.contracts import Endpoint
from orchestrator.errors import InvalidRequest
from orchestrator.fields import PAIRED, check_calls, check_fields
from orchestrator.hints import Hints, hints_from, merged
from orchestrator.media import picture, sound
from orchestrator.media.encoded import Encoded

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
EMBEDDINGS: Final = "/v1/embeddings"
CLASSIFY: Final = "/v1/classify"
SCORE: Final = "/v1/score"
ENDPOINTS: Final[frozenset[str]] = frozenset(get_args(Endpoint))
"""What engines serve."""
ACCEPTED: Final[frozenset[str]] = ENDPOINTS | {RESPONSES}
"""What callers may ask for: a response is a chat to engines."""
POOLING: Final[frozenset[str]] = frozenset({EMBEDDINGS, CLASSIFY, SCORE})
"""Those that read texts and write none: their answers are numbers."""

CHARS_PER_TOKEN: Final = 4
"""The usual rule of thumb for English; only estimates use it, charges use the model's own count."""
READ_CHARS: Final = 20_000
"""Signals of complexity are looked for in so many characters, so that a long document costs no more to route."""
MAX_MESSAGES: Final = 10_000
ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
"""Who may say a message: what a model's template does with any other is anybody's guess."""
MAX_IMAGES: Final = 100
MAX_AUDIO: Final = 20
NO_SECONDS: Final = Decimal(0)
MILLISECOND: Final = Decimal("0.001")

MAX_ANSWERS: Final = 2_048
"""That one request may ask for: of all its prompts, `n` and samples together."""
MAX_TEXTS: Final = 2_048
MAX_READ_CHARS: Final = 8_000_000
"""Of all that is classified or scored in one request; a query counts once for each document."""

FOR_WORKERS: Final = ("reasoning", "thinking_tokens", "samples", "vote", "adapter")
"""Hints that say how a request is run, not where."""

_WORDS: Final = re.compile(r"[a-z]+").findall
_SIGNAL_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(("def", "traceback", "refactor", "debug", "algorithm", "stacktrace"), "code"),
    **dict.fromkeys(("prove", "derive", "theorem", "integral", "equation", "equations", "probability"), "mathematics"),
    **dict.fromkeys(("analyse", "analyze", "evaluate", "assess", "compare", "justify", "critique"), "analysis"),
    **dict.fromkeys(("recommend", "strategy", "strategic", "plan", "roadmap", "diligence"), "planning"),
    **dict.fromkeys(("steps", "step", "tradeoff", "tradeoffs", "stages", "phases"), "several steps"),
}
_CONSTRAINTS: Final = frozenset(
    {"must", "least", "most", "exactly", "without", "unless", "ensure", "only", "should", "within"}
)
_MARKS: Final = (
    ("```", "code"),
    ("#include", "code"),
    ("trade-off", "several steps"),
    ("∑", "mathematics"),
    ("∫", "mathematics"),
)


@dataclass(slots=True)
class Beside:
    """What messages hold beside text, counted while they are read."""

    images: int = 0
    audio: int = 0
    audio_seconds: float = 0.0
    tokens: int = 0
    """About as many as a model reads for all of it."""


@dataclass(frozen=True, slots=True)
class Features:
    """What routing looks at."""

    endpoint: str
    model: str
    """`auto`, a tier, or the name of a model."""
    hints: Hints
    input_tokens: int
    max_output_tokens: int | None
    choices: int
    """Answers that are written: of every prompt `n`, times the samples of each."""
    effort: str | None
    """`reasoning_effort`, where the caller names one."""
    images: int
    audio: int
    audio_seconds: Decimal
    """How long its sound is, as the headers tell."""
    signals: tuple[str, ...]
    """The signals of complexity found, by name."""
    prefix_hash: int
    """Of the instructions and of every message but the last; 0 where there is none. Jobs of the same prefix go together."""
    longest_tokens: int = 0
    """About how many tokens the longest prompt has: a model must hold each of them, and not their sum."""


def features_of(endpoint: str, body: object, batch: Hints, *, streams: bool = False) -> Features:
    """Check an OpenAI body and read its features; raises InvalidRequest that names the field and the remedy.

    `streams` says whether `stream: true` can be honoured. The body is not changed: see `engine_body`.
    """
    if endpoint not in ENDPOINTS:
        raise InvalidRequest(
            f"Endpoint {endpoint[:80]!r} is not served. Use one of {', '.join(sorted(ENDPOINTS))}.", param="url"
        )
    if not isinstance(body, dict):
        raise InvalidRequest("`body` must be a JSON object.", param="body")
    check_fields(endpoint, body, streams=streams and endpoint not in POOLING)
    model = body.get("model", "auto")
    if not isinstance(model, str) or not 0 < len(model) <= 128:
        raise InvalidRequest('`model` must be "auto", a tier, or the name of a model.', param="model")
    own = hints_from(body.get("rightsize"))
    if own.cascade and model != "auto":
        raise InvalidRequest("`rightsize.cascade` names tiers: leave `model` to auto.", param="model")
    hints = merged(own, batch)
    if endpoint in POOLING and (hints.samples or 1) > 1:
        raise InvalidRequest(f"`rightsize.samples` is not for {endpoint}: its answer is no text.", param="samples")
    if (hints.cascade or hints.escalate) and body.get("stream"):
        raise InvalidRequest(
            "A cascade is for whole answers: what was told cannot be taken back. Leave out `stream`.",
            param="stream",
        )
    text, beside, prefix, chars, longest = _read(endpoint, body)
    if hints.instructions:
        chars, longest = chars + len(hints.instructions), longest + len(hints.instructions)
        prefix = zlib.crc32(hints.instructions.encode("utf-8", "replace"), prefix)
    if hints.adapter:  # the same words with another adapter are another prefix
        prefix = zlib.crc32(hints.adapter.encode(), prefix)
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return Features(
        endpoint=endpoint,
        model=model,
        hints=hints,
        input_tokens=chars // CHARS_PER_TOKEN + 4 + beside.tokens,
        max_output_tokens=0 if endpoint in POOLING else limit,
        effort=body.get("reasoning_effort"),
        choices=_answers(body, hints),
        images=beside.images,
        audio=beside.audio,
        audio_seconds=Decimal(beside.audio_seconds).quantize(MILLISECOND) if beside.audio_seconds else NO_SECONDS,
        signals=_signals(text),
        prefix_hash=prefix,
        longest_tokens=longest // CHARS_PER_TOKEN + 4 + beside.tokens,
    )


def _answers(body: Mapping[str, Any], hints: Hints) -> int:
    """How many answers are written; raises InvalidRequest for more than one request may ask for."""
    prompts = body.get("prompt")
    answers = (body.get("n") or 1) * (hints.samples or 1) * (len(prompts) if isinstance(prompts, list) else 1)
    if answers > MAX_ANSWERS:
        raise InvalidRequest(
            f"A request may ask for at most {MAX_ANSWERS:,} answers; this one asks for {answers:,}: lower `n` or "
            "`rightsize.samples`, or send fewer prompts.",
            param="n",
        )
    return int(answers)


def engine_body(body: dict[str, Any], hints: Hints) -> dict[str, Any]:
    """The body that the worker gets: the task's instructions as the first message, and of our own object what concerns it."""
    out = {key: value for key, value in body.items() if key != "rightsize"}
    if hints.instructions and "messages" in out:
        out["messages"] = [{"role": "system", "content": hints.instructions}, *out["messages"]]
    wanted = {name: getattr(hints, name) for name in FOR_WORKERS if getattr(hints, name) is not None}
    if wanted:
        out["rightsize"] = wanted
    return out


def _read(endpoint: str, body: Mapping[str, Any]) -> tuple[str, Beside, int, int, int]:
    """Text for signals, what is beside it, prefix hash, characters in all and of the longest prompt."""
    if endpoint == CHAT:
        text, beside, prefix, chars = _read_messages(body.get("messages"))
        return text, beside, prefix, chars, chars
    if endpoint == SCORE:
        pairs = score_pairs(body)
        lengths = [len(one) + len(other) for one, other in pairs]
        _check_length(endpoint, sum(lengths))
        return "", Beside(), 0, sum(lengths), max(lengths)
    field = "prompt" if endpoint == "/v1/completions" else "input"
    texts = _texts(body.get(field), field)
    if field == "prompt" and not all(texts):
        raise InvalidRequest("`prompt` is empty: there is nothing to go on from.", param=field)
    if endpoint == CLASSIFY:
        _check_length(endpoint, sum(map(len, texts)))
    signals = "" if endpoint in POOLING else texts[0][:READ_CHARS]
    return signals, Beside(), 0, sum(map(len, texts)), max(map(len, texts))


def _check_length(endpoint: str, chars: int) -> None:
    if chars > MAX_READ_CHARS:
        raise InvalidRequest(
            f"One request to {endpoint} reads at most {MAX_READ_CHARS:,} characters; this one has {chars:,}. Split it.",
            param="body",
        )


def score_pairs(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs of texts that a score request compares: one query with each document, or each with its own.

    Raises InvalidRequest that names the field and the remedy.
    """
    given = [pair for pair in PAIRED if pair[1] in body and pair[0] in body]
    names = {name for pair in PAIRED for name in pair} & body.keys()
    if len(given) != 1 or names != set(given[0]):
        raise InvalidRequest(
            "A score must have `queries` and `documents` (or `text_1` and `text_2`), and no others of their kind.",
            param="documents",
        )
    first, second = (_texts(body[name], name) for name in given[0])
    if len(first) not in (1, len(second)):
        raise InvalidRequest(
            f"`{given[0][0]}` must be one text, or as many as `{given[0][1]}`: there are {len(first)} and {len(second)}.",
            param=given[0][0],
        )
    return list(zip(first * len(second) if len(first) == 1 else first, second, strict=True))


def _texts(value: object, field: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_TEXTS or not all(isinstance(t, str) for t in texts):
        raise InvalidRequest(f"`{field}` must be text, or a list of 1 to 2,048 texts.", param=field)
    return texts


def _read_messages(messages: object) -> tuple[str, Beside, int, int]:
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise InvalidRequest("`messages` must be a list of 1 to 10,000 messages.", param="messages")
    texts: list[str] = []
    beside = Beside()
    prefix, last = 0, len(messages) - 1
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`messages[{index}]` must be an object with a `role`.", param="messages")
        if message["role"] not in ROLES:
            raise InvalidRequest(f"`messages[{index}].role` must be one of {', '.join(ROLES)}.", param="messages")
        check_calls(message.get("tool_calls"), index)
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
            if index < last:
                prefix = zlib.crc32(content.encode("utf-8", "replace"), prefix)
        elif isinstance(content, list):
            _read_parts(content, texts, index, beside)
        elif content is not None or message["role"] != "assistant":
            raise InvalidRequest(f"`messages[{index}].content` must be text or a list of parts.", param="messages")
    for count, most, what in ((beside.images, MAX_IMAGES, "images"), (beside.audio, MAX_AUDIO, "sounds")):
        if count > most:
            raise InvalidRequest(f"A request may have at most {most} {what}; this one has {count}.", param="messages")
    return "\n".join(texts)[:READ_CHARS], beside, prefix, sum(map(len, texts))


def _read_parts(parts: list[Any], texts: list[str], index: int, beside: Beside) -> None:
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else None
            if not isinstance(url, str) or not url.startswith("data:image/"):
                raise InvalidRequest(
                    f"`messages[{index}]`: images must be data URLs (data:image/png;base64,...). Addresses are not fetched.",
                    param="messages",
                )
            beside.images += 1
            if beside.images <= MAX_IMAGES:
                beside.tokens += picture.tokens_of(Encoded(url, url.find(",", 0, 100) + 1))
        elif kind == "input_audio":
            given = part.get("input_audio")
            data = given.get("data") if isinstance(given, dict) else None
            if not isinstance(data, str):
                raise InvalidRequest(
                    f"`messages[{index}]`: `input_audio` needs `data`, the sound in base64, and `format`.",
                    param="messages",
                )
            beside.audio += 1
            if beside.audio <= MAX_AUDIO:
                seconds = sound.seconds_in(Encoded(data, data.find(",", 0, 100) + 1))
                beside.audio_seconds += seconds
                beside.tokens += sound.tokens_of(seconds)
        else:
            raise InvalidRequest(
                f"`messages[{index}]` has a part that is not text, image_url or input_audio.", param="messages"
            )


def _signals(text: str) -> tuple[str, ...]:
    """The signals of complexity in a text: a look-up by word, since this runs for every row."""
    lower = text.lower()
    words = set(_WORDS(lower))
    names = {_SIGNAL_OF[word] for word in words & _SIGNAL_OF.keys()}
    if len(words & _CONSTRAINTS) >= 3:
        names.add("several constraints")
    names.update(name for mark, name in _MARKS if mark in lower)
    return tuple(sorted(names)) if names else ()
