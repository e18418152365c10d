"""A server that gives every request the same answer and reads none of them: the ceiling of whoever asks it."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import uvloop

SAID: Final = "This answer is simulated: no model has read the request."
BODY: Final = json.dumps({
    "id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "noop",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 15, "completion_tokens": 14, "total_tokens": 29},
}).encode()  # fmt: skip
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Same(asyncio.Protocol):
    """One connection; a request fits one read here."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(ANSWER)


async def serve() -> None:
    """Serve on a free port, and say which."""
    server = await asyncio.get_running_loop().create_server(Same, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
