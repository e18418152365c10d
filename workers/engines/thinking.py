"""Deliberation with a budget: the thought is written first and closed by us when its tokens are spent, then the answer.

Both are one answer to the caller. The second request goes on from the tokens of the first, which lie in the engine's prefix
cache, so that closing a thought costs one more turn in the scheduler and no second reading of the prompt. vLLM's engine and
llama.cpp's both go by what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from orchestrator.fleet import Model, Reasoning
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


def may_begin(text: str, begin: str) -> bool:
    """Whether what was written so far can still be the beginning of a thought."""
    said = text.lstrip()
    return begin.startswith(said) or said.startswith(begin)


class Listening:
    """Tells a thought from its marks while it is written: what may still be part of a mark, or blanks at its end, waits."""

    def __init__(self, marks: Marks, *, opened: bool) -> None:
        """`opened` says that the prompt ended with the beginning mark already."""
        self._marks, self._opened = marks, opened
        self._waiting = ""
        self.inside = False
        """Whether the thought has begun, and its marks are behind."""
        self._told = self.closed = False

    @property
    def may_begin(self) -> bool:
        """Whether what was written so far is a thought, or can still be the beginning of one."""
        return self.inside or self._opened or may_begin(self._waiting, self._marks.begin)

    def add(self, text: str) -> str:
        """What of the thought can be told now. All of it together, with `end`, is the thought without blanks around it."""
        self._waiting += text
        if self.closed or not self._enter(at_end=False):
            return ""
        thought, ended, _ = self._waiting.partition(self._marks.end)
        self.closed = bool(ended)
        keep = 0 if ended else _overlap(thought, self._marks.end)
        sure = thought[: len(thought) - keep]
        said = sure.rstrip()
        self._waiting = "" if ended else sure[len(said) :] + thought[len(sure) :]
        return self._begun(said)

    def end(self) -> str:
        """What is left to tell of a thought that was not closed."""
        if self.closed or not self._enter(at_end=True):
            return ""
        said, self._waiting = self._waiting.rstrip(), ""
        return self._begun(said)

    def _enter(self, *, at_end: bool) -> bool:
        """Whether the text is known to be within the thought."""
        if self.inside:
            return True
        begin, said = self._marks.begin, self._waiting.lstrip()
        if said.startswith(begin):
            self._waiting = said[len(begin) :]
        elif not self._opened or (begin.startswith(said) and not at_end):
            return False
        self.inside = True
        return True

    def _begun(self, said: str) -> str:
        """Without the blanks before its first word."""
        said = said if self._told else said.lstrip()
        self._told = self._told or bool(said)
        return said


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the beginning of a mark."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-size:])), 0)


def budget(model: Model, reasoning: Reasoning, request: EngineRequest, prompt_tokens: int, context: int) -> int:
    """How many tokens a thought may have: as asked, within the context, with room left for the answer."""
    asked = request.thinking_tokens or reasoning.tokens_for(request.body.get("reasoning_effort"))
    answer = output_limit(request.body) or min(model.max_output_tokens, context // 4)
    return max(1, min(asked, MAX_THOUGHT, context - prompt_tokens - answer - _SPARE))
