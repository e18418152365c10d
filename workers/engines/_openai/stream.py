"""Puts the pieces of a streamed answer together: the same body that the server would have sent at once."""

from __future__ import annotations

from typing import Any

from workers.engines.server_answer import bad_answer

_JOINED = ("content", "refusal", "reasoning_content", "reasoning")
_KEPT = ("id", "created", "model", "system_fingerprint", "service_tier")


class Assembly:
    """One streamed answer as it grows."""

    def __init__(self, endpoint: str, most_choices: int) -> None:
        self._chat = endpoint == "/v1/chat/completions"
        self._most_choices = most_choices
        self._head: dict[str, Any] = {}
        self._texts: dict[int, dict[str, list[str]]] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._tools: dict[int, dict[int, dict[str, Any]]] = {}
        self._usage: Any = None

    def add(self, event: dict[str, Any]) -> str:
        """Take one event in; returns what it adds to the text of the first choice."""
        for key in _KEPT:
            if event.get(key) is not None:
                self._head.setdefault(key, event[key])
        if event.get("usage") is not None:
            self._usage = event["usage"]
        rows = event.get("choices") or []
        if not isinstance(rows, list):
            raise bad_answer("bad_choices", "The server's stream has choices that are no list.")
        return "".join(self._choice(row) for row in rows)

    def body(self) -> dict[str, Any]:
        """The whole answer as one response body."""
        rows = []
        for index in sorted(self._choices):
            parts = {name: "".join(pieces) for name, pieces in self._texts[index].items()}
            if self._chat:
                message: dict[str, Any] = {"role": "assistant", "content": None, **parts}
                if index in self._tools:
                    message["tool_calls"] = [call for _, call in sorted(self._tools[index].items())]
                rows.append({"index": index, "message": message, **self._choices[index]})
            else:
                rows.append({"index": index, "text": parts.get("text", ""), **self._choices[index]})
        body = {**self._head, "object": "chat.completion" if self._chat else "text_completion", "choices": rows}
        return body if self._usage is None else {**body, "usage": self._usage}

    def _choice(self, row: object) -> str:
        index = row.get("index", 0) if isinstance(row, dict) else None
        known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < self._most_choices
        if not isinstance(row, dict) or not isinstance(index, int) or not known:
            raise bad_answer("bad_choices", "The server's stream has a choice that was not asked for.")
        choice = self._choices.setdefault(index, {"finish_reason": None})
        texts = self._texts.setdefault(index, {})
        if row.get("finish_reason") is not None:
            choice["finish_reason"] = row["finish_reason"]
        delta = row.get("delta") if self._chat else {"text": row.get("text")}
        if not isinstance(delta, dict):
            return ""
        for name in _JOINED if self._chat else ("text",):
            if isinstance(delta.get(name), str):
                texts.setdefault(name, []).append(delta[name])
        self._tool_calls(index, delta.get("tool_calls"))
        said = delta.get("content" if self._chat else "text")
        return said if index == 0 and isinstance(said, str) else ""

    def _tool_calls(self, index: int, calls: object) -> None:
        for call in calls if isinstance(calls, list) else ():
            place = call.get("index", 0) if isinstance(call, dict) else None
            if not isinstance(call, dict) or not isinstance(place, int):
                raise bad_answer("bad_choices", "The server's stream has a tool call without an index.")
            empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            whole = self._tools.setdefault(index, {}).setdefault(place, empty)
            for name in ("id", "type"):
                if isinstance(call.get(name), str) and call[name]:
                    whole[name] = call[name]
            function = call.get("function")
            for name in ("name", "arguments"):
                if isinstance(function, dict) and isinstance(function.get(name), str):
                    whole["function"][name] += function[name]
