"""Answers of the form that was asked for: every one is checked by us, and mended once by the model that wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from orchestrator.contracts import Answer, Usage
from orchestrator.errors import EngineFault
from orchestrator.structured import MAX_PROBLEMS, Form, differences, form_of
from orchestrator.tasks import verdict
from orchestrator.tasks.verdict import Held
from workers.engines.base import Engine, EngineRequest

MAX_QUOTED: Final = 8_000
"""Of a wrong answer, in the request to mend it."""
MAX_RAW: Final = 16_000
"""Of a wrong answer, as its caller sees it."""

Difference = tuple[str, str]
"""Where an answer is wrong, by JSON pointer, and how."""


class WrongForm(EngineFault):
    """An answer that has not the form asked for, after it was mended once. It was paid for all the same."""

    def __init__(self, why: str, usage: Usage, detail: str | None = None, *, was_cut: bool = False) -> None:
        """`detail` is what it said and what is wrong with it, as JSON; one that was cut off another model would be cut off as well."""
        super().__init__(
            f"The model's answer has not the form that was asked for: {why}",
            code="wrong_form",
            retryable=False,
            http_status=422,
        )
        self.usage, self.detail, self.was_cut = usage, detail, was_cut


async def perform(engine: Engine, request: EngineRequest, held: Held | None = None) -> Answer:
    """The engine's answer, in the form that the request asks for and held to its rules; raises WrongForm if it cannot be had."""
    form = form_of(request.body)
    answer = await answered(engine, request)
    if form is None:
        return answer
    wrong = _wrong(answer, form, held)
    if not wrong:
        return answer
    if _was_cut(answer):
        raise _refused([("", "it was cut off at max_tokens. Raise that.")], answer, answer.usage, held, was_cut=True)
    if not _can_mend(request):
        raise _refused(wrong, answer, answer.usage, held)
    again = await answered(engine, _to_mend(request, answer, [_words(*one) for one in wrong]))
    usage = added(answer.usage, again.usage)
    if wrong := _wrong(again, form, held):
        raise _refused(wrong, again, usage, held)
    return with_usage(again, usage)


def _refused(
    wrong: Sequence[Difference], answer: Answer, usage: Usage, held: Held | None, *, was_cut: bool = False
) -> WrongForm:  # fmt: skip
    """The fault of an answer that cannot be accepted; of one about a document with all that its caller needs to see why."""
    why = "; ".join(_words(*one) for one in wrong)
    if held is None:
        return WrongForm(why, usage, was_cut=was_cut)
    violations = [{"pointer": pointer, "message": told} for pointer, told in wrong]
    return WrongForm(
        why,
        usage,
        json.dumps({"raw": _text(answer)[:MAX_RAW], "violations": violations}, ensure_ascii=False),
        was_cut=was_cut,
    )


def _words(pointer: str, told: str) -> str:
    return told if told.startswith("it ") and not pointer else f"{pointer.lstrip('/') or 'the whole'}: {told}"


async def answered(engine: Engine, request: EngineRequest) -> Answer:
    """The engine's answer, with the sound that it heard in the usage."""
    return with_sound(request, await engine.perform(request))


def check_told(request: EngineRequest, answer: Answer) -> None:
    """Check an answer that was told while it came; raises WrongForm where the engine has not held it to its form.

    One that was cut off at max_tokens is not wrong: its reader has what there is of it, and sees why it ends.
    """
    form = form_of(request.body)
    if form is not None and not _was_cut(answer) and (wrong := _wrong(answer, form, None)):
        raise _refused(wrong, answer, answer.usage, None)


def with_sound(request: EngineRequest, answer: Answer) -> Answer:
    """The answer, with the sound that was heard for it in the usage."""
    if not request.audio_seconds:
        return answer
    return replace(answer, usage=replace(answer.usage, audio_seconds=request.audio_seconds))


def _wrong(answer: Answer, form: Form, held: Held | None) -> list[Difference]:
    """What is wrong with the first choice that is not right."""
    for choice in answer.body.get("choices", ()):
        message = choice.get("message", choice)
        if message.get("tool_calls"):
            continue
        text = message.get("content") if "message" in choice else choice.get("text")
        said = text if isinstance(text, str) else ""
        if wrong := differences(said, form):
            return wrong
        if held is not None and (broken := verdict.broken(said, held)):
            return [(one.pointer, one.message) for one in broken[:MAX_PROBLEMS]]
    return []


def _text(answer: Answer) -> str:
    choices: Sequence[dict[str, Any]] = answer.body.get("choices") or ({},)
    message = choices[0].get("message") or {}
    return str(message.get("content") or "")


def _was_cut(answer: Answer) -> bool:
    return any(choice.get("finish_reason") == "length" for choice in answer.body.get("choices", ()))


def _can_mend(request: EngineRequest) -> bool:
    return "messages" in request.body and (request.body.get("n") or 1) == 1


def _to_mend(request: EngineRequest, answer: Answer, wrong: list[str]) -> EngineRequest:
    """The same request, with the wrong answer and what is wrong with it behind its messages."""
    said = str(answer.body["choices"][0]["message"].get("content") or "")[:MAX_QUOTED]
    asked = (
        "Your answer does not have the required form:\n- "
        + "\n- ".join(wrong)
        + "\nAnswer again, in the required form only."
    )
    more = [{"role": "assistant", "content": said}, {"role": "user", "content": asked}]
    body = {**request.body, "messages": [*request.body["messages"], *more]}
    return request.with_body(body)


def added(*parts: Usage) -> Usage:
    """The usage of several requests together."""
    return Usage(
        sum(one.input_tokens for one in parts),
        sum(one.cached_tokens for one in parts),
        sum(one.output_tokens for one in parts),
        sum(one.reasoning_tokens for one in parts),
        sum(one.images for one in parts),
        sum((one.audio_seconds for one in parts), parts[0].audio_seconds * 0),
    )


def with_usage(answer: Answer, usage: Usage) -> Answer:
    """The answer, with the usage of all that it took."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    return Answer({**answer.body, "usage": counts}, usage, answer.model_revision, answer.simulated)
