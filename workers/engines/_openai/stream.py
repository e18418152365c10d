"""Reads the events of a streamed answer: what of them may be told, what they say of usage, and the body that they come to.

Nothing of a server is passed on as it came: of each choice those fields that are known, each of its own kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from orchestrator.contracts import Usage
from orchestrator.errors import EngineFault
from workers.engines.assembly import CHAT, TEXTS, Assembly
from workers.engines.base import EngineRequest
from workers.engines.prompt import count_images, wanted_choices
from workers.engines.server_answer import bad_answer, revision_of, usage_of

Rows = list[dict[str, Any]]
_KEPT: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
_LOGPROBS: Final = ("content", "refusal", "tokens", "token_logprobs", "top_logprobs", "text_offset")
MOST_CALLS: Final = 1_024
"""Of functions, in one choice."""


class Streamed:
    """One streamed answer as it grows."""

    def __init__(self, request: EngineRequest, asked: str, key: str, size: int, *, counts_each: bool) -> None:
        """`asked` is the model's name, `key` the server's entry of rightsize.toml, `size` that of the request's body in bytes.

        `counts_each` says that each event counts what its own choice has taken up to then, as vLLM does where it is asked to.
        """
        self._request, self._asked, self._key, self._size = request, asked, key, size
        self._counts_each = counts_each
        self._assembly = Assembly(request.endpoint)
        self._most_choices = wanted_choices(request.body)
        self._images = count_images(request.body)
        self._head: dict[str, Any] = {}
        self._usage: Any = None
        self._each: dict[int, Mapping[str, Any]] = {}
        self.usage: Usage | None = None
        """All that was consumed so far, where the server says that."""
        self.revision = ""
        """Which model answers, as far as it has said so."""

    def add(self, event: dict[str, Any]) -> Rows:
        """Take one event in; the piece that it tells. Raises EngineFault for one that cannot be, and for another model's."""
        known = len(self._head)
        for name in _KEPT:
            if event.get(name) is not None:
                self._head.setdefault(name, event[name])
        if len(self._head) > known or not self.revision:
            self.revision = revision_of(self._asked, self._key, self._head)
        rows = event.get("choices") or []
        if not isinstance(rows, list):
            raise bad_answer("bad_choices", "The server's stream has choices that are no list.")
        clean = [self._clean(row) for row in rows]
        self._assembly.add(clean)
        self._count(event.get("usage"), clean)
        return [row for row in clean if _tells(row)]

    def body(self) -> dict[str, Any]:
        """The whole answer as one response body."""
        kind = "chat.completion" if self._request.endpoint == CHAT else "text_completion"
        body = {**self._head, "object": kind, "choices": self._assembly.whole()}
        return body if self._usage is None else {**body, "usage": self._usage}

    def _clean(self, row: object) -> dict[str, Any]:
        index = row.get("index", 0) if isinstance(row, dict) else None
        asked_for = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < self._most_choices
        if not isinstance(row, dict) or not asked_for:
            raise bad_answer("bad_choices", "The server's stream has a choice that was not asked for.")
        finish, logprobs = row.get("finish_reason"), row.get("logprobs")
        beside: dict[str, Any] = {"finish_reason": finish if isinstance(finish, str) else None}
        if isinstance(logprobs, dict):
            known = {name: logprobs[name] for name in _LOGPROBS if isinstance(logprobs.get(name), list)}
            beside |= {"logprobs": known} if known else {}
        if self._request.endpoint != CHAT:
            text = row.get("text")
            return {"index": index, "text": text if isinstance(text, str) else "", **beside}
        given = row.get("delta")
        delta = (
            {name: given[name] for name in TEXTS if isinstance(given.get(name), str)} if isinstance(given, dict) else {}
        )
        if isinstance(given, dict) and isinstance(given.get("tool_calls"), list):
            delta["tool_calls"] = [_call(call) for call in given["tool_calls"]]
        return {"index": index, "delta": delta, **beside}

    def _count(self, counts: object, rows: Rows) -> None:
        """Take in what an event says of usage. One that cannot be is told at the end, where the answer is checked."""
        self.usage = None
        if counts is None:
            return
        if not self._counts_each or not rows:
            self._usage = counts
            if rows and self._most_choices > 1:
                return  # whether all of them are meant is not known
        elif isinstance(counts, dict):
            self._each.update((row["index"], counts) for row in rows)
            counts = _sum(self._each, per_prompt=self._request.body.get("n") or 1)
        with suppress(EngineFault):
            self.usage = usage_of(self._request, counts, self._images, self._size)


def _call(call: object) -> dict[str, Any]:
    place = call.get("index", 0) if isinstance(call, dict) else None
    known = isinstance(place, int) and not isinstance(place, bool) and 0 <= place < MOST_CALLS
    if not isinstance(call, dict) or not known:
        raise bad_answer("bad_choices", "The server's stream has a tool call without an index.")
    told = {name: call[name] for name in ("id", "type") if isinstance(call.get(name), str) and call[name]}
    function = call.get("function")
    if isinstance(function, dict):
        told["function"] = {
            name: function[name] for name in ("name", "arguments") if isinstance(function.get(name), str)
        }
    return {"index": place, **told}


def _tells(row: dict[str, Any]) -> bool:
    """Whether a choice says anything: the first event of a chat names its role alone."""
    said = row["text"] if "text" in row else any(row["delta"].values())
    return bool(said or row.get("logprobs") or row["finish_reason"])


def _sum(each: Mapping[int, Mapping[str, Any]], per_prompt: int) -> dict[str, Any]:
    """The counts of all choices together; a prompt that several of them answer counts once."""
    try:
        prompts = {index // per_prompt: counts["prompt_tokens"] for index, counts in each.items()}
        written = sum(counts["completion_tokens"] for counts in each.values())
        thought = sum(
            (counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0 for counts in each.values()
        )
        read = sum(prompts.values())
    except (KeyError, TypeError, AttributeError):
        return {}
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
