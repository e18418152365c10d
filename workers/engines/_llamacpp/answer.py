"""One streamed answer of llama.cpp as it grows, and what its errors mean."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.errors import EngineFault
from workers.engines.answer_body import Written
from workers.engines.base import bad_request

_MESSAGE_CHARS: Final = 300
_FINISHES: Final = frozenset({"stop", "length", "tool_calls"})


class Growing:
    """One choice, event by event."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thought: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None

    def add(self, event: dict[str, Any]) -> str:
        """Take one event in; what it adds to the text."""
        if event.get("error"):
            raise fault_of(event["error"])
        self._usage = event.get("usage") or self._usage
        added = ""
        for choice in event.get("choices") or ():
            delta = choice.get("delta", choice)
            said = delta.get("content", delta.get("text")) or ""
            self._text.append(said)
            self._thought.append(delta.get("reasoning_content") or "")
            self._logprobs += (choice.get("logprobs") or {}).get("content") or ()
            self._finish = choice.get("finish_reason") or self._finish
            for call in delta.get("tool_calls") or ():
                self._tool(call)
            added += said
        return added

    def _tool(self, call: dict[str, Any]) -> None:
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        whole = self._tools.setdefault(call.get("index", 0), empty)
        whole["id"] = call.get("id") or whole["id"]
        for name, piece in (call.get("function") or {}).items():
            whole["function"][name] = whole["function"].get(name, "") + (piece or "")

    def written(self) -> Written:
        """The whole; raises EngineFault where the stream ended before its end."""
        if self._usage is None or self._finish not in _FINISHES:
            raise EngineFault("llama.cpp broke its answer off.", code="cut_stream", retryable=True)
        thought = "".join(self._thought)
        return Written(
            text="".join(self._text),
            tokens=self._count("completion_tokens"),
            finish="stop" if self._finish == "tool_calls" else self._finish,
            thought=thought or None,
            logprobs=[_told(row) for row in self._logprobs] or None,
            tool_calls=[call for _, call in sorted(self._tools.items())] or None,
        )

    def read(self) -> tuple[int, int]:
        """Tokens of the prompt, and how many of them were in the cache."""
        prompt = self._count("prompt_tokens")
        details = (self._usage or {}).get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or 0
        if not isinstance(cached, int) or not 0 <= cached <= prompt:
            raise _bad_usage()
        return prompt, cached

    def _count(self, name: str) -> int:
        count = (self._usage or {}).get(name)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise _bad_usage()
        return count


def fault_of(error: object) -> EngineFault:
    """The fault that an error of llama.cpp stands for."""
    told: dict[str, Any] = error if isinstance(error, dict) else {"message": str(error)}
    message = " ".join(str(told.get("message", "it did not say why")).split())[:_MESSAGE_CHARS].rstrip(".")
    if told.get("type") == "exceed_context_size_error":
        return bad_request(
            f"The prompt has {told.get('n_prompt_tokens')} tokens, and the model holds {told.get('n_ctx')} of a request. "
            "Shorten it, or raise context_per_slot of the model.",
            "context_length_exceeded",
        )
    status = told.get("code")
    if isinstance(status, int) and (400 <= status < 500 or status == 501):
        return bad_request(f"llama.cpp refuses the request: {message}.")
    return EngineFault(f"llama.cpp met a fault of its own: {message}.", code="server_error", retryable=True)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A token's log probability in OpenAI's form, which knows no ids; JSON has no infinity."""
    told: dict[str, Any] = {key: row[key] for key in ("token", "bytes") if key in row}
    told["logprob"] = max(float(row["logprob"]), -9999.0) if row.get("logprob") is not None else -9999.0
    if "top_logprobs" in row:
        told["top_logprobs"] = [_told(one) for one in row["top_logprobs"]]
    return told


def _bad_usage() -> EngineFault:
    return EngineFault("llama.cpp's count of tokens cannot be right.", code="bad_usage", retryable=True)
