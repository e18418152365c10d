"""A judge that speaks OpenAI's protocol on a real port: it prefers the answer that names the subject of the text."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

ANSWERS = re.compile(r"<answer_([ab])>\s*(.*?)\s*</answer_\1>", re.DOTALL)
INPUT = re.compile(r"<input>\s*(.*?)\s*</input>", re.DOTALL)


def verdict(chat: str, subjects: Mapping[str, str]) -> str:
    """Which of two answers is right; a tie where both are, or none is."""
    text = INPUT.findall(chat)[-1]
    right = {subject for subject, words in subjects.items() if set(text.split()) & set(words.split())}
    first, second = (answer in right for _, answer in sorted(ANSWERS.findall(chat)))
    return "tie" if first == second else "A" if first else "B"


@contextmanager
def serve_judge(subjects: Mapping[str, str]) -> Iterator[str]:
    """Serve the judge on a free port of the loopback; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._tell({"object": "list", "data": [{"id": "judge", "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            said = verdict(asked["messages"][-1]["content"], subjects)
            message = {"role": "assistant", "content": json.dumps({"verdict": said})}
            usage = {"prompt_tokens": 200, "completion_tokens": 5, "total_tokens": 205}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._tell(
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "judge",
                    "choices": [choice],
                    "usage": usage,
                }
            )

        def _tell(self, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
