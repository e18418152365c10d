"""The parent's side of llama.cpp's process: starts it, knows whether it lives, keeps its last words, ends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import InvalidConfig

_CHILD: Final = Path(__file__).with_name("child.py")
_LONGEST_SOCKET: Final = 100
"""Bytes of a socket's path: systems allow 104 or 108."""
_LAST_WORDS: Final = 12
_PATIENT: Final = {"OMP_WAIT_POLICY": "passive"}
"""Threads sleep while they wait for each other. By default they spin, and where others want the cores too they take them from
the one that all wait for: two threads on two busy cores fell from 60 tokens a second to less than 3."""


class LlamaProcess:
    """One process with one model. Its methods block: they belong into a thread."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rightsize-llama-"))
        self.socket = self._folder / "llama.sock"
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._ended = False

    def start(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Start it and wait until it has answered; a `ready` of False comes with an `error`."""
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET:
            raise InvalidConfig(f"{self._folder} is too long a path for a socket. Set TMPDIR to a shorter folder.")
        # A session of its own: Ctrl-C at the terminal is the worker's to hear, which lets running jobs finish first.
        process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**_PATIENT, **os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        )
        self._process = process
        if self._ended:
            process.kill()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
        self._listener = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        self._listener.start()
        try:
            process.stdin.write(json.dumps({**asked, "socket": str(self.socket)}).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait()
        return {"ready": False, "error": f"it ended with {code} while it loaded the model"}

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was started."""
        return self._process.pid if self._process is not None else None

    def last_words(self) -> str:
        """The end of what it wrote on standard error. It may quote requests: it is for a failed start only."""
        return " ".join(self._words)

    def kill(self) -> None:
        """End it at once, and leave the rest to `end`."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """End it, and remove what it left; it has nothing to put in order."""
        self._ended = True
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            if self._listener is not None:
                self._listener.join(1.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listen(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                self._words.append(line.decode("utf-8", "replace").strip()[:300])
