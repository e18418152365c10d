"""Answers and their pieces, in OpenAI's two forms: pieces put together to a whole, joined to larger ones, or made of a whole.

A piece is a list of choices as they stand in a streamed event: `{"index", "delta": {...}, "finish_reason"}` of a chat,
`{"index", "text", "finish_reason"}` of a completion, with `logprobs` where they were asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

CHAT: Final = "/v1/chat/completions"
TEXTS: Final = ("content", "refusal", "reasoning", "reasoning_content")
"""The texts of a chat's delta, each a stream of its own; servers call a thought by either of two names."""


@dataclass(slots=True)
class Call:
    """One call of a function as it grows."""

    id: str = ""
    kind: str = ""
    name: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)

    def add(self, piece: Mapping[str, Any]) -> None:
        """Take in one piece."""
        self.id, self.kind = piece.get("id") or self.id, piece.get("type") or self.kind
        function = piece.get("function") or {}
        self.name.append(function.get("name") or "")
        self.arguments.append(function.get("arguments") or "")

    def whole(self) -> dict[str, Any]:
        """The call as a message holds it."""
        function = {"name": "".join(self.name), "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": self.kind or "function", "function": function}

    def piece(self, place: int) -> dict[str, Any]:
        """All that was taken in as one piece of the call at `place`."""
        begun = {"id": self.id, "type": self.kind or "function"} if self.id else {}
        name = "".join(self.name)
        return {
            "index": place,
            **begun,
            "function": {**({"name": name} if name else {}), "arguments": "".join(self.arguments)},
        }


@dataclass(slots=True)
class _Choice:
    """One choice as it grows."""

    role: str | None = None
    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    logprobs: dict[str, Any] | None = None
    finish: str | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        delta = row.get("delta")
        if delta is None:
            self.texts.setdefault("text", []).append(row.get("text") or "")
        else:
            self.role = self.role or delta.get("role")
            for name in TEXTS:
                if delta.get(name) is not None:
                    self.texts.setdefault(name, []).append(delta[name])
            for call in delta.get("tool_calls") or ():
                self.calls.setdefault(call["index"], Call()).add(call)
        for name, found in (row.get("logprobs") or {}).items():
            self._add_logprobs(name, found)
        self.finish = row.get("finish_reason") or self.finish

    def _add_logprobs(self, name: str, found: Any) -> None:
        """Take in one of the lists that stand in a row's `logprobs`, under their names in either form."""
        if self.logprobs is None:
            self.logprobs = {}
        known = self.logprobs.get(name)
        if isinstance(known, list) and isinstance(found, list):
            known.extend(found)
        else:
            self.logprobs[name] = list(found) if isinstance(found, list) else found

    @property
    def said(self) -> dict[str, str]:
        return {name: "".join(pieces) for name, pieces in self.texts.items()}

    @property
    def beside(self) -> dict[str, Any]:
        told = {"logprobs": self.logprobs} if self.logprobs is not None else {}
        return {**told, "finish_reason": self.finish}


class Assembly:
    """The choices of one answer as they grow."""

    def __init__(self, endpoint: str) -> None:
        self._chat = endpoint == CHAT
        self._choices: dict[int, _Choice] = {}

    def add(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Take in one piece."""
        for row in choices:
            self._choices.setdefault(row["index"], _Choice()).add(row)

    def whole(self) -> list[dict[str, Any]]:
        """The choices of the answer so far, as a body that comes at once has them."""
        rows = []
        for index, one in sorted(self._choices.items()):
            if not self._chat:
                rows.append({"index": index, "text": one.said.get("text", ""), **one.beside})
                continue
            message: dict[str, Any] = {"role": "assistant", "content": None, **one.said}
            if one.calls:
                message["tool_calls"] = [call.whole() for _, call in sorted(one.calls.items())]
            rows.append({"index": index, "message": message, **one.beside})
        return rows

    def joined(self) -> list[dict[str, Any]]:
        """All that was taken in as one piece."""
        rows = []
        for index, one in sorted(self._choices.items()):
            if not self._chat:
                rows.append({"index": index, "text": one.said.get("text", ""), **one.beside})
                continue
            delta: dict[str, Any] = {**({"role": one.role} if one.role else {}), **one.said}
            if one.calls:
                delta["tool_calls"] = [call.piece(place) for place, call in sorted(one.calls.items())]
            rows.append({"index": index, "delta": delta, **one.beside})
        return rows


def as_pieces(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A whole answer as one piece; nothing for one that has no choices, such as embeddings."""
    return [_as_piece(row, row.get("index", place)) for place, row in enumerate(body.get("choices") or ())]


def _as_piece(row: Mapping[str, Any], index: int) -> dict[str, Any]:
    told = {"logprobs": row["logprobs"]} if row.get("logprobs") is not None else {}
    beside = {**told, "finish_reason": row.get("finish_reason")}
    message = row.get("message")
    if message is None:
        return {"index": index, "text": row.get("text") or "", **beside}
    delta = {name: message[name] for name in ("role", *TEXTS) if message.get(name) is not None}
    if calls := message.get("tool_calls"):
        delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
    return {"index": index, "delta": delta, **beside}


def piece(
    endpoint: str,
    index: int,
    *,
    text: str = "",
    thought: str = "",
    calls: Sequence[Mapping[str, Any]] = (),
    logprobs: Mapping[str, Any] | None = None,
    finish: str | None = None,
) -> dict[str, Any]:
    """One choice of a piece, of what was written."""
    beside = {**({"logprobs": logprobs} if logprobs is not None else {}), "finish_reason": finish}
    if endpoint != CHAT:
        return {"index": index, "text": text, **beside}
    delta = {**({"reasoning": thought} if thought else {}), **({"content": text} if text else {})}
    return {"index": index, "delta": {**delta, **({"tool_calls": list(calls)} if calls else {})}, **beside}
