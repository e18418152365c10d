"""Deliberation with a budget: the thought is written first and closed by us when its tokens are spent, then the answer.

Both are one answer to the caller. The second request goes on from the tokens of the first, which lie in the engine's prefix
cache, so that closing a thought costs one more turn in the scheduler and no second reading of the prompt. vLLM's engine and
llama.cpp's both go by what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from orchestrator.fleet import Model, Reasoning
from workers.engines.answer_body import Written
from workers.engines.base import EngineRequest
from workers.engines.prompt import output_limit

SAMPLED: Final = ("temperature", "top_p", "top_k", "min_p", "seed")
"""What of a body holds for its thought. The caller's own stops, penalties, form and so on are for the answer."""
MAX_THOUGHT: Final = 1_000_000
_SPARE: Final = 8
"""Tokens of the context that are left for the marks."""

ENOUGH: Final = "\n"
"""Written before the end mark where the budget cuts a thought off."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks around a thought."""

    begin: str
    end: str


def marks_of(reasoning: Reasoning, tokenizer: Any) -> Marks:
    """The marks of a model: those of vLLM's parser of that name or, without one, those of the fleet.

    Raises ValueError for a parser that vLLM does not know or whose family has no plain marks.
    """
    if reasoning.parser is None:
        return Marks(reasoning.begin, reasoning.end)
    from vllm.reasoning import ReasoningParserManager

    try:
        parser = ReasoningParserManager.get_reasoning_parser(reasoning.parser)(tokenizer)
    except KeyError:
        known = ", ".join(ReasoningParserManager.list_registered())
        raise ValueError(f"vLLM has no reasoning parser {reasoning.parser!r}. It has: {known}.") from None
    begin, end = parser.reasoning_start_str, parser.reasoning_end_str
    if not begin or not end:
        raise ValueError(
            f"vLLM's reasoning parser {reasoning.parser!r} has no plain marks around a thought, so that its budget cannot be "
            "held. Serve the model with `vllm serve` and engine openai."
        )
    return Marks(begin.strip(), end.strip())


@dataclass(frozen=True, slots=True)
class Split:
    """What of a text is a thought."""

    text: str
    """The thought without its marks."""
    began: bool
    """Whether the model thinks at all in this answer."""
    closed: bool
    """Whether it ended the thought itself."""


def may_begin(text: str, begin: str) -> bool:
    """Whether what was written so far can still be the beginning of a thought."""
    said = text.lstrip()
    return begin.startswith(said) or said.startswith(begin)


def split(text: str, marks: Marks, *, opened: bool) -> Split:
    """Tell thought from answer. `opened` says that the prompt ended with the beginning mark already."""
    before, begun, behind = text.partition(marks.begin)
    if begun and not before.strip():
        opened, text = True, behind
    thought, ended, _ = text.partition(marks.end)
    if not opened and not ended:
        return Split("", began=False, closed=False)
    return Split(thought.strip(), began=True, closed=bool(ended))


def budget(model: Model, reasoning: Reasoning, request: EngineRequest, prompt_tokens: int, context: int) -> int:
    """How many tokens a thought may have: as asked, within the context, with room left for the answer."""
    asked = request.thinking_tokens or reasoning.tokens_for(request.body.get("reasoning_effort"))
    answer = output_limit(request.body) or min(model.max_output_tokens, context // 4)
    return max(1, min(asked, MAX_THOUGHT, context - prompt_tokens - answer - _SPARE))


def joined(thought: Written, answer: Written) -> Written:
    """One choice of a thought and an answer that were written apart."""
    tokens = thought.tokens + answer.tokens
    return Written(answer.text, tokens, answer.finish, thought.thought, thought.thought_tokens, answer.logprobs)
