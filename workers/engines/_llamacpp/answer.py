"""One choice that llama.cpp writes, event by event, and what its errors mean."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.errors import EngineFault
from workers.engines.base import bad_request
from workers.engines.growing import Growing, Totals

Rows = list[dict[str, Any]]
_MESSAGE_CHARS: Final = 300
_FINISHES: Final = {"stop": "stop", "length": "length", "tool_calls": "stop"}
"""How llama.cpp says that it ended; a call of a function is seen by its pieces."""


class Choice(Growing):
    """One choice: an answer, or a thought and an answer that are asked for one after the other."""

    def __init__(self, endpoint: str, index: int, totals: Totals) -> None:
        super().__init__(endpoint, index, totals)
        self.read = self.cached = 0
        """Tokens of the prompt, and how many of them were in the cache."""
        self.thought_over = False
        """Whether a thought of ours is behind: what llama.cpp reads for the answer is that prompt again."""
        self._counted = self._ended = False

    def hear(self, event: dict[str, Any]) -> Rows:
        """Take in one event of the answer; the piece that tells it."""
        known = self.tokens
        self._take_counts(event)
        rows: Rows = []
        for one in event.get("choices") or ():
            delta = one.get("delta", one)
            thought = delta.get("reasoning_content") or ""
            if thought:
                self.count(self.tokens, self.thought_tokens + self.tokens - known)
            finish = _FINISHES.get(one.get("finish_reason") or "")
            self._ended = self._ended or finish is not None
            rows += self.add(
                text=delta.get("content", delta.get("text")) or "",
                thought=thought,
                calls=[{"index": 0, **call} for call in delta.get("tool_calls") or ()],
                logprobs=[_told(row) for row in (one.get("logprobs") or {}).get("content") or ()],
                finish=finish,
            )
        return rows

    def hear_thought(self, event: dict[str, Any]) -> str:
        """Take in one event of a thought that is asked for apart; what it adds to its text."""
        self._take_counts(event)
        self.count(self.tokens, self.tokens)
        said = ""
        for one in event.get("choices") or ():
            said += one.get("text") or ""
            self.finish = _FINISHES.get(one.get("finish_reason") or "", self.finish)
            self._ended = self.finish is not None
        return said

    def end(self) -> None:
        """See that it is whole; raises EngineFault where the stream ended before its end."""
        if not self._counted or not self._ended:
            raise EngineFault("llama.cpp broke its answer off.", code="cut_stream", retryable=True)

    def end_thought(self) -> None:
        """See that the thought is whole, and go on to the answer."""
        self.end()
        self.thought_over, self.finish = True, None
        self._counted = self._ended = False

    def forget(self) -> None:
        """Count nothing of what turned out to be no thought: the answer is asked for anew."""
        self.count(0, 0)
        self.read = self.cached = 0
        self.finish, self._counted, self._ended = None, False, False

    def _take_counts(self, event: dict[str, Any]) -> None:
        """Take in what an event says of tokens: the last one says all, and each one how many it is up to then."""
        if event.get("error"):
            raise fault_of(event["error"])
        if usage := event.get("usage"):
            self._counted = True
            details = usage.get("prompt_tokens_details") or {}
            cached = details.get("cached_tokens") or 0
            prompt, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        elif timings := event.get("timings"):
            cached, written = timings.get("cache_n"), timings.get("predicted_n")
            prompt = _whole(timings.get("prompt_n")) + _whole(cached)
        else:
            return
        before = self.thought_tokens if self.thought_over else 0
        self.count(before + _whole(written), self.thought_tokens)
        if not self.thought_over:
            self.read, self.cached = _whole(prompt), _whole(cached)
        if self.cached > self.read:
            raise _bad_usage()


def _whole(count: object) -> int:
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
