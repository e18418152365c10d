"""Whether an answer is sound: usage there, JSON valid, thoughts apart from the answer, vectors finite. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from orchestrator.contracts import Answer
from orchestrator.fleet import Reasoning

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "inhabitants": {"type": "integer"},
        "size": {"enum": ["small", "large"]},
    },
    "required": ["city", "inhabitants", "size"],
    "additionalProperties": False,
}
"""What the JSON question asks for."""
COLOUR: Final = "red"
"""What the drawn image shows."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer said, in short, and what is wrong with it (nothing, where it is sound)."""

    said: str
    problems: tuple[str, ...] = ()
    remark: str = ""


Judge = Callable[[Answer], Verdict]


def text(answer: Answer) -> Verdict:
    """Some text, with usage."""
    said = content_of(answer)
    return Verdict(said, (*_no_words(said), *_usage_problems(answer, output=True)))


def structured(answer: Answer) -> Verdict:
    """A JSON object that fits SCHEMA."""
    said = content_of(answer)
    return Verdict(said, (*schema_problems(said), *_usage_problems(answer, output=True)))


def image(answer: Answer) -> Verdict:
    """Some text about an image; whether it names the colour is told and not judged: small models see badly."""
    found = text(answer)
    saw = f"it named the colour, {COLOUR}" if COLOUR in found.said.lower() else f"it did not say {COLOUR}"
    return Verdict(found.said, found.problems, saw)


def reasoning(how: Reasoning) -> Judge:
    """A judge of answers after thought: thoughts counted, and none of them in the answer."""

    def judge(answer: Answer) -> Verdict:
        found = text(answer)
        problems = list(found.problems)
        if how.begin in found.said or how.end in found.said:
            problems.append(f"its thoughts stand in the answer: {how.begin} or {how.end} is in it")
        if not answer.usage.reasoning_tokens:
            problems.append("no reasoning tokens are counted")
        return Verdict(found.said, tuple(problems), f"{answer.usage.reasoning_tokens} tokens of thought")

    return judge


def vectors(count: int) -> Judge:
    """A judge of embeddings: so many vectors, equally long and finite; that all are the same is told and not judged."""

    def judge(answer: Answer) -> Verdict:
        rows = answer.body.get("data")
        found = [row.get("embedding") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        made = [one for one in found if isinstance(one, list) and one and all(map(_is_finite, one))]
        problems = list(_usage_problems(answer, output=False))
        if len(made) != count:
            problems.append(f"{len(made)} of {count} vectors are lists of finite numbers")
        elif len({len(one) for one in made}) > 1:
            problems.append("its vectors differ in length")
        same = len(made) > 1 and all(one == made[0] for one in made)
        said = f"{len(made)} vectors of {len(made[0]) if made else 0} numbers"
        return Verdict(said, tuple(problems), "the same for different texts" if same else "")

    return judge


def numbers(count: int, key: str) -> Judge:
    """A judge of classes (`probs`) or scores (`score`): so many, and each of finite numbers."""

    def judge(answer: Answer) -> Verdict:
        rows = answer.body.get("data")
        found = [row.get(key) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        given = [one if isinstance(one, list) else [one] for one in found]
        sound = [one for one in given if one and all(map(_is_finite, one))]
        problems = list(_usage_problems(answer, output=False))
        if len(sound) != count:
            problems.append(f"{len(sound)} of {count} answers are finite numbers")
        said = "; ".join(", ".join(f"{number:.3f}" for number in one[:8]) for one in sound)
        return Verdict(said, tuple(problems))

    return judge


def content_of(answer: Answer) -> str:
    """The text of an answer's first choice; empty where there is none."""
    choices = answer.body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    said = message.get("content") if isinstance(message, dict) else first.get("text")
    return said if isinstance(said, str) else ""


def schema_problems(said: str) -> tuple[str, ...]:
    """What keeps a text from being JSON that fits SCHEMA."""
    try:
        value = orjson.loads(said)
    except orjson.JSONDecodeError as error:
        return (f"it is not JSON: {error}",)
    if not isinstance(value, dict) or set(value) != set(SCHEMA["required"]):
        return (f"it is not an object with exactly {', '.join(SCHEMA['required'])}",)
    problems = []
    if not isinstance(value["city"], str):
        problems.append("city is not text")
    if not isinstance(value["inhabitants"], int) or isinstance(value["inhabitants"], bool):
        problems.append("inhabitants is not a whole number")
    if value["size"] not in SCHEMA["properties"]["size"]["enum"]:
        problems.append("size is neither small nor large")
    return tuple(problems)


def _no_words(said: str) -> tuple[str, ...]:
    return () if said.strip() else ("it says nothing",)


def _usage_problems(answer: Answer, *, output: bool) -> tuple[str, ...]:
    usage = answer.usage
    problems = []
    if usage.input_tokens <= 0:
        problems.append("no input tokens are counted")
    if output and usage.output_tokens <= 0:
        problems.append("no output tokens are counted")
    if usage.reasoning_tokens > usage.output_tokens or usage.cached_tokens > usage.input_tokens:
        problems.append("its usage counts more tokens of a part than of the whole")
    return tuple(problems)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
