"""The ways in which the tests' OpenAI server answers, by name: the good one, and all that can go wrong."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

SAID: Final = "It is forty-two."
USAGE: Final = {
    "prompt_tokens": 12,
    "completion_tokens": 7,
    "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
_BAD_USAGE: Final[dict[str, Any]] = {
    "negative": -3,
    "huge": 10**12,
    "nan": float("nan"),
    "bool": True,
    "string": "7",
    "null": None,
    "float": 7.5,
}


@dataclass
class Exchange:
    """One request, and the writer of its answer."""

    path: str
    behaviour: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter = field(repr=False)

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire now."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, headers: dict[str, str]) -> None:
        """The status line and the headers."""
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def whole(self, body: object, status: int = 200, **headers: str) -> None:
        """A complete answer with its length."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.head(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **named})
        await self.send(data)

    async def events(self, rows: list[object], *, done: bool = True) -> None:
        """A stream of server-sent events in chunks, with or without its end mark."""
        await self.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for row in rows:
            await self._chunk(b"data: " + json.dumps(row).encode() + b"\n\n")
        if done:
            await self._chunk(b"data: [DONE]\n\n")
        await self.send(b"0\r\n\r\n")

    async def _chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def answer(self, **changes: object) -> dict[str, Any]:
        """A good answer to the request, with some parts changed."""
        model = self.body.get("model", "?")
        if self.path.endswith("/embeddings"):
            given = self.body["input"]
            count = len(given) if isinstance(given, list) else 1
            rows = [{"object": "embedding", "index": i, "embedding": [0.25, -0.5]} for i in range(count)]
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            return {"object": "list", "model": model, "data": rows, "usage": usage, **changes}
        if self.path in ("/classify", "/score"):  # where vLLM has them: not below /v1
            return {**self.numbers(), "model": model, **changes}
        chat = self.path.endswith("/chat/completions")
        said = {"message": {"role": "assistant", "content": SAID}} if chat else {"text": SAID}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion" if chat else "text_completion",
            "created": 1,
            "model": model,
            "choices": [{"index": index, "finish_reason": "stop", **said} for index in self.indexes()],
            "usage": USAGE,
            **changes,
        }

    def indexes(self) -> range:
        """Of the choices that are asked for."""
        prompts = self.body.get("prompt")
        return range((self.body.get("n") or 1) * (len(prompts) if isinstance(prompts, list) else 1))

    def numbers(self) -> dict[str, Any]:
        """What vLLM answers to a classification or a score."""
        given = self.body["input" if self.path.endswith("classify") else "documents"]
        count = len(given) if isinstance(given, list) else 1
        if self.path.endswith("classify"):
            rows = [{"index": i, "label": "yes", "probs": [0.25, 0.75], "num_classes": 2} for i in range(count)]
        else:
            rows = [{"index": i, "object": "score", "score": 0.5} for i in range(count)]
        usage = {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0}
        return {"id": "numbers-1", "object": "list", "created": 1, "data": rows, "usage": usage}

    def pieces(self, **changes: object) -> list[object]:
        """The same answer as events of a stream."""
        head = {"id": "chatcmpl-1", "created": 1, "model": self.body.get("model", "?")}
        chat = self.path.endswith("/chat/completions")
        rows: list[object] = []
        for word in (SAID[:5], SAID[5:]):
            said: dict[str, Any] = {"delta": {"content": word}} if chat else {"text": word}
            rows += [{**head, "choices": [{"index": n, "finish_reason": None, **said}]} for n in self.indexes()]
        last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        rows += [{**head, "choices": [{"index": n, "finish_reason": "stop", **last}]} for n in self.indexes()]
        return [*rows, {**head, "choices": [], "usage": USAGE, **changes}]


async def good(exchange: Exchange, *_: str) -> None:
    """Answers, streamed where that is asked for."""
    if exchange.body.get("stream"):
        await exchange.events(exchange.pieces())
    else:
        await exchange.whole(exchange.answer())


async def status(exchange: Exchange, code: str, *after: str) -> None:
    """`status-CODE` or `status-CODE-after-VALUE`; the error repeats the caller's key, as some servers do."""
    headers = {"Retry_After": "-".join(after[1:]).replace("_", " ")} if after else {}
    error = {"error": {"message": f"no {exchange.headers.get('authorization')}", "type": "server", "code": None}}
    await exchange.whole(error, int(code), **headers)


async def hang(exchange: Exchange, *_: str) -> None:
    """Takes the request and says nothing."""
    await asyncio.Event().wait()


async def drip(exchange: Exchange, every_ms: str, *_: str) -> None:
    """`drip-MILLISECONDS`: good headers at once, then one byte at a time, for ever."""
    kind = "text/event-stream" if exchange.body.get("stream") else "application/json"
    await exchange.head(200, {"Content-Type": kind, "Content-Length": "1000000"})
    while True:
        await exchange.send(b" ")
        await asyncio.sleep(int(every_ms) / 1000)


async def flaky(exchange: Exchange, count: str, seen: str) -> None:
    """`flaky-N`: answers 500 to the first N requests."""
    await (status(exchange, "500") if int(seen) <= int(count) else good(exchange))


async def reset(exchange: Exchange, *_: str) -> None:
    """Breaks off in the middle of the answer."""
    await exchange.head(200, {"Content-Type": "application/json", "Content-Length": "500"})
    await exchange.send(b'{"id": "chatcmpl')
    raise ConnectionError


async def dropped(exchange: Exchange, *_: str) -> None:
    """Takes the request and breaks off before any byte of an answer."""
    raise ConnectionError


async def empty(exchange: Exchange, code: str, *_: str) -> None:
    """`empty-CODE`: a status and nothing else, as proxies say it of a server that is gone."""
    await exchange.whole(b"", int(code))


async def slow(exchange: Exchange, ms: str, *_: str) -> None:
    """`slow-MILLISECONDS`: answers well, after a while."""
    await asyncio.sleep(int(ms) / 1000)
    await good(exchange)


async def unranked(exchange: Exchange, *_: str) -> None:
    """Refuses `priority`, as vLLM may where its scheduler serves in order of arrival."""
    if exchange.body.get("priority"):
        await exchange.whole({"error": {"message": "Priority scheduling is not enabled.", "code": 400}}, 400)
    else:
        await good(exchange)


async def cut(exchange: Exchange, *_: str) -> None:
    """A stream that ends well by HTTP, but without its end mark."""
    await exchange.events(exchange.pieces()[:2], done=False)


async def no_usage(exchange: Exchange, *_: str) -> None:
    """Counts nothing."""
    if exchange.body.get("stream"):
        await exchange.events(exchange.pieces()[:-1])
    else:
        answer = exchange.answer()
        del answer["usage"]
        await exchange.whole(answer)


async def usage(exchange: Exchange, kind: str, *_: str) -> None:
    """`usage-KIND`: counts of tokens that cannot be."""
    counts = {**USAGE, "completion_tokens": _BAD_USAGE[kind]}
    if exchange.body.get("stream"):
        await exchange.events(exchange.pieces(usage=counts))
    else:
        await exchange.whole(exchange.answer(usage=counts))


async def changed(exchange: Exchange, kind: str, *_: str) -> None:
    """`changed-KIND`: an answer that is wrong in one part."""
    choice = exchange.answer()["choices"][0] if "messages" in exchange.body else {"index": 0, "text": SAID}
    changes: dict[str, dict[str, Any]] = {
        "model": {"model": "somebody-else"},
        "dated": {"model": f"{exchange.body['model']}-2026-01-31"},
        "twice": {"choices": [choice, choice]},
        "none": {"choices": []},
        "shape": {"choices": [{"index": 0, "message": "hello"}]},
        "error": {"error": {"message": "the GPU fell off", "code": 503}},
        "invalid": {"error": {"message": "no such parameter", "type": "invalid_request_error"}},
        "beside": {"usage": {**USAGE, "completion_tokens": 2, "total_tokens": 17}},
        "cached": {"usage": {**USAGE, "prompt_tokens": 4}},
    }
    await exchange.whole(exchange.answer(**changes[kind]))


async def body(exchange: Exchange, kind: str, *_: str) -> None:
    """`body-KIND`: bytes that are no good answer."""
    bodies = {
        "garbage": b"<html>oops",
        "list": b"[1]",
        "deep": b"[" * 200_000,
        "digits": b'{"a": ' + b"9" * 100_000 + b"}",
    }
    await exchange.whole(bodies[kind])


async def bomb(exchange: Exchange, *_: str) -> None:
    """A small gzip body that inflates to 128 MiB."""
    await exchange.whole(gzip_bomb(), Content_Encoding="gzip")


async def badgzip(exchange: Exchange, *_: str) -> None:
    """Says gzip, and is none."""
    await exchange.whole(b"not gzip at all", Content_Encoding="gzip")


async def whole(exchange: Exchange, *_: str) -> None:
    """Answers at once, also where a stream was asked for."""
    await exchange.whole(exchange.answer())


async def tools(exchange: Exchange, *_: str) -> None:
    """Streams a call of a tool in pieces, and thoughts beside it."""
    parts: list[dict[str, Any]] = [
        {"reasoning_content": "think"},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]},
    ]
    rows: list[object] = [{"choices": [{"index": 0, "delta": delta}]} for delta in parts]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": USAGE}
    await exchange.events([*rows, last])


async def counting(exchange: Exchange, *_: str) -> None:
    """Counts with each piece what its own choice has taken, as vLLM does; and at the end all of it."""
    rows: list[object] = []
    for written, index in ((1, 0), (2, 0), (1, 1)):
        counts = {"prompt_tokens": 12, "completion_tokens": written, "total_tokens": 12 + written}
        choice = {"index": index, "delta": {"content": f"{written} "}, "finish_reason": None}
        rows.append({"model": exchange.body["model"], "choices": [choice], "usage": counts})
    ends = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in (0, 1)]
    end = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    await exchange.events([*rows, {"choices": ends}, {"choices": [], "usage": end}])


async def junk(exchange: Exchange, *_: str) -> None:
    """Streams fields of which nobody has heard, and known ones that are of another kind."""
    delta = {"content": "Yes.", "reasoning": 7, "refusal": None, "audio": {"id": "x"}, "role": ["assistant"]}
    choice = {"index": 0, "delta": delta, "finish_reason": 3, "token_ids": [1], "logprobs": {"content": "no", "x": [1]}}
    last = {"index": 0, "delta": None, "finish_reason": "stop", "logprobs": None}
    await exchange.events([{"choices": [choice]}, {"choices": [last], "usage": USAGE}])


async def logprobs(exchange: Exchange, *_: str) -> None:
    """Streams log probabilities with its words."""
    rows: list[object] = [
        {
            "choices": [
                {"index": 0, "delta": {"content": word}, "logprobs": {"content": [{"token": word, "logprob": -1.0}]}}
            ]
        }
        for word in ("a", "b")
    ]
    await exchange.events([*rows, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}])


async def another(exchange: Exchange, *_: str) -> None:
    """Streams the words of another model."""
    choice = {"index": 0, "delta": {"content": "Hm."}, "finish_reason": None}
    await exchange.events([{"model": "somebody-else", "choices": [choice]}])


async def midway(exchange: Exchange, *_: str) -> None:
    """Streams a piece, then an error."""
    await exchange.events([exchange.pieces()[0], {"error": {"message": "out of memory", "code": 500}}])


async def redirect(exchange: Exchange, *_: str) -> None:
    """Sends the caller, and its key, elsewhere."""
    await exchange.whole(b"", 307, Location=f"http://{exchange.headers['host']}/good/v1/chat/completions")


@cache
def gzip_bomb() -> bytes:
    """128 MiB of blanks in about 128 KiB."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(128)) + packer.flush()


BEHAVIOURS: Final[dict[str, Callable[..., Awaitable[None]]]] = {
    function.__name__: function
    for function in (
        whole,
        tools,
        counting,
        junk,
        logprobs,
        another,
        midway,
        good,
        status,
        hang,
        drip,
        flaky,
        reset,
        dropped,
        empty,
        slow,
        unranked,
        cut,
        no_usage,
        usage,
        changed,
        body,
        bomb,
        badgzip,
        redirect,
    )
}
