"""Small processes that take the place of the instance's own commands: `stand_in.py WHAT [PORT]`."""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

KEY = "rs-stand-in"


class Api(http.server.BaseHTTPRequestHandler):
    """Answers what the supervisor asks the API."""

    def do_GET(self) -> None:
        """Ready always; models only for the key that `key` printed."""
        known = self.path == "/readyz" or self.headers.get("Authorization") == f"Bearer {KEY}"
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


def main(what: str, *words: str) -> None:
    """Be one part."""
    if what == "api":
        http.server.ThreadingHTTPServer(("127.0.0.1", int(words[0])), Api).serve_forever()
    elif what == "key":
        print(json.dumps({"id": "key_1", "key": KEY}))
    elif what == "fails":
        sys.exit("the schema is newer than this release")
    elif what == "refuses":
        sys.stderr.write("models.big.vllm: vLLM says: unrecognized arguments.\n")
        sys.exit(78)
    elif what in {"works", "crashes", "environment", "loads"}:
        if what == "loads":
            Path(words[0]).read_bytes()  # a pipe: until somebody has written into it
        if what == "environment":
            given = {k: v for k, v in os.environ.items() if k.startswith("RIGHTSIZE_")}
            Path(words[0]).write_text(json.dumps({**given, "argv": sys.argv, "umask": os.umask(0)}))
        Path(os.environ["RIGHTSIZE_READY_FILE"]).touch()
        if what != "crashes":
            signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
