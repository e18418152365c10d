"""Self-consistency: several answers to one question, of which one is chosen by majority or by the model as a judge.

After Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models" (2022). All samples are charged,
and the estimate at submit counts them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault
from orchestrator.tasks.verdict import Held
from workers import forms
from workers.engines.base import Engine, EngineRequest

SAMPLING_TEMPERATURE: Final = 0.7
"""Where the request names none: at 0 all samples would be one."""
MAX_JUDGED: Final = 20_000
"""Characters of each answer that the judge reads."""
_BLANKS: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for beside the model's own parameters."""

    reasoning: bool = False
    """Whether the reasoning comes with the answer."""
    samples: int = 1
    vote: str = "majority"
    stream: bool = False
    """Whether the answer is to be told piece by piece while it comes."""
    response: dict[str, Any] | None = None
    """How a response was asked for, where the answer is to be one and no chat."""
    held: Held | None = None
    """What the answer is held to beyond its form, where it is about a document."""
    accept: Mapping[str, Any] | None = None
    """From which score on it is accepted, see `contracts.ACCEPT`."""


async def perform(engine: Engine, request: EngineRequest, wanted: Wanted) -> Answer:
    """One answer, or the chosen one of several; raises EngineFault if no sample came to anything."""
    if wanted.samples == 1:
        return await forms.perform(engine, request, wanted.held)
    body = dict(request.body)
    body.setdefault("temperature", SAMPLING_TEMPERATURE)
    sampled = request.with_body(body)
    ended = await asyncio.gather(
        *(forms.perform(engine, sampled, wanted.held) for _ in range(wanted.samples)), return_exceptions=True
    )
    answers = [one for one in ended if isinstance(one, Answer)]
    if not answers:
        raise next(one for one in ended if isinstance(one, BaseException))
    texts = [_text(answer) for answer in answers]
    spent = [answer.usage for answer in answers] + [one.usage for one in ended if isinstance(one, forms.WrongForm)]
    agreeing, chosen = _majority(texts)
    if wanted.vote == "judge" and agreeing < len(answers):
        chosen, verdict = await _judged(engine, request, texts)
        agreeing = sum(_same(text) == _same(texts[chosen]) for text in texts)
        spent.append(verdict.usage)
    answer = forms.with_usage(answers[chosen], forms.added(*spent))
    told = {"samples": wanted.samples, "answered": len(answers), "agreeing": agreeing, "vote": wanted.vote}
    answer.body["rightsize_vote"] = told
    return answer


def _majority(texts: Sequence[str]) -> tuple[int, int]:
    """How many agree with the most frequent answer, and the place of the first that says it."""
    alike = [_same(text) for text in texts]
    key, count = Counter(alike).most_common(1)[0]
    return count, alike.index(key)


def _same(text: str) -> str:
    """A text as it counts for agreement: JSON without regard to order and blanks, other text without regard to blanks and case."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return _BLANKS.sub(" ", text).strip().casefold().rstrip(".!")


async def _judged(engine: Engine, request: EngineRequest, texts: Sequence[str]) -> tuple[int, Answer]:
    """The place of the answer that the model finds best."""
    listed = "\n\n".join(f"Answer {place}:\n{text[:MAX_JUDGED]}" for place, text in enumerate(texts, 1))
    asked = (
        f"{len(texts)} answers to the question above follow. Which one is right, or best? "
        f"Answer with its number alone.\n\n{listed}"
    )
    numbers = [str(place) for place in range(1, len(texts) + 1)]
    body: dict[str, Any] = {
        "messages": [*request.body["messages"], {"role": "user", "content": asked}],
        "max_tokens": 8,
        "temperature": 0,
        "reasoning_effort": "none",
    }
    if engine.limits().structured:
        body["structured_outputs"] = {"choice": numbers}
    verdict = await forms.answered(engine, request.with_body(body))
    found = re.search(r"\d+", _text(verdict))
    if found is None or found.group() not in numbers:
        raise EngineFault("The judge named no answer.", code="no_verdict", retryable=True)
    return int(found.group()) - 1, verdict


def _text(answer: Answer) -> str:
    message = answer.body["choices"][0].get("message") or {}
    return str(message.get("content") or "")
