"""A model server that speaks OpenAI's protocol on a real port: it calls the functions it is given and tells log probabilities.

What it was asked stays in `asked`, so that a test sees what of a request came through.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

NAME = "afar"
WORDS = ("It", " is", " on", " its", " way", ".")
USAGE = {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 4}}


@dataclass
class ModelServer:
    """A running server, and the bodies that it was asked."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def serve_model() -> Iterator[ModelServer]:
    """Serve the model on a free port of the loopback."""
    kept = ModelServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._tell({"object": "list", "data": [{"id": NAME, "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            kept.asked.append(asked)
            answer = answered(asked)
            if not asked.get("stream"):
                self._tell(answer)
                return
            events = [f"data: {json.dumps(event)}\n\n" for event in pieces(answer)]
            self._send("".join([*events, "data: [DONE]\n\n"]).encode(), "text/event-stream")

        def _tell(self, body: dict[str, Any]) -> None:
            self._send(json.dumps(body).encode(), "application/json")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        kept.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def answered(asked: dict[str, Any]) -> dict[str, Any]:
    """A chat's answer: a call of the first function, unless what it came to is there already; words otherwise."""
    tools, choice = asked.get("tools") or [], asked.get("tool_choice")
    calls = tools and choice != "none" and asked["messages"][-1]["role"] != "tool"
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else "".join(WORDS)}
    if calls:
        named = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
        call = {"name": named, "arguments": json.dumps({"city": "Oslo"})}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
    logprobs = {"content": [token(word, asked.get("top_logprobs") or 0) for word in WORDS]}
    row = {
        "message": message, "finish_reason": "tool_calls" if calls else "stop",
        "logprobs": logprobs if asked.get("logprobs") and not calls else None,
    }  # fmt: skip
    rows = [{"index": index, **row} for index in range(asked.get("n") or 1)]
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": NAME, "choices": rows, "usage": USAGE,
    }  # fmt: skip


def token(word: str, others: int) -> dict[str, Any]:
    """A token with its log probability, and the likeliest others."""
    told = {"token": word, "logprob": -0.25, "bytes": list(word.encode())}
    return {**told, "top_logprobs": [{**told, "logprob": -0.25 - place} for place in range(others)]}


def pieces(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same answer as the events of a stream."""
    head = {"id": answer["id"], "object": "chat.completion.chunk", "created": 1, "model": NAME}
    for row in answer["choices"]:
        logprobs, index = row["logprobs"], row["index"]
        calls = [{"index": place, **call} for place, call in enumerate(row["message"].get("tool_calls") or ())]
        if calls:
            yield {**head, "choices": [{"index": index, "delta": {"tool_calls": calls}, "finish_reason": None}]}
        for place, word in enumerate(WORDS if not calls else ()):
            told = {"content": [logprobs["content"][place]]} if logprobs else None
            choice = {"index": index, "delta": {"content": word}, "finish_reason": None, "logprobs": told}
            yield {**head, "choices": [choice]}
        yield {**head, "choices": [{"index": index, "delta": {}, "finish_reason": row["finish_reason"]}]}
    yield {**head, "choices": [], "usage": answer["usage"]}
