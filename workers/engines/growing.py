"""One choice as a model writes it: told piece by piece, and whole at its end. For the engines that run a model themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts import Usage
from workers.engines.answer_body import Read, Written, flat
from workers.engines.assembly import CHAT, Call, piece


@dataclass(slots=True)
class Totals:
    """What all choices of an answer come to so far."""

    tokens: int = 0
    thought_tokens: int = 0

    def usage(self, read: Read, images: int) -> Usage:
        """The same with what was read, as a usage."""
        return Usage(read.tokens, read.cached, self.tokens, self.thought_tokens, images)


class Growing:
    """One choice of an answer."""

    def __init__(self, endpoint: str, index: int, totals: Totals) -> None:
        """`endpoint` says in which form its pieces are told; `totals` is shared by all choices of the answer."""
        self._endpoint, self.index, self._totals = endpoint, index, totals
        self.tokens = self.thought_tokens = 0
        """So far; the latter are among the former. Set by `count`."""
        self.finish: str | None = None
        self._text: list[str] = []
        self._thought: list[str] = []
        self._calls: dict[int, Call] = {}
        self._logprobs: list[dict[str, Any]] = []

    def count(self, tokens: int, thought_tokens: int) -> None:
        """Note how many tokens it has by now."""
        self._totals.tokens += tokens - self.tokens
        self._totals.thought_tokens += thought_tokens - self.thought_tokens
        self.tokens, self.thought_tokens = tokens, thought_tokens

    def add(
        self,
        *,
        text: str = "",
        thought: str = "",
        calls: Sequence[dict[str, Any]] = (),
        logprobs: list[dict[str, Any]] | None = None,
        finish: str | None = None,
    ) -> list[dict[str, Any]]:
        """Take in what was written; the piece that tells it, which is empty where there is nothing to tell."""
        self._text.append(text)
        self._thought.append(thought)
        self._logprobs += logprobs or ()
        for call in calls:
            self._calls.setdefault(call["index"], Call()).add(call)
        self.finish = finish or self.finish
        if not (text or thought or calls or logprobs or finish):
            return []
        rows = ({"content": logprobs} if self._endpoint == CHAT else flat(logprobs)) if logprobs else None
        ended = "tool_calls" if self._calls and finish == "stop" else finish
        return [piece(self._endpoint, self.index, text=text, thought=thought, calls=calls, logprobs=rows, finish=ended)]

    def written(self) -> Written:
        """The whole choice."""
        return Written(
            text="".join(self._text),
            tokens=self.tokens,
            finish=self.finish or "stop",
            thought="".join(self._thought) or None,
            thought_tokens=self.thought_tokens,
            logprobs=self._logprobs or None,
            tool_calls=[call.whole() for _, call in sorted(self._calls.items())] or None,
        )
