"""Deeds by their names."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.documents.reading import Block, Inner, Limits, Page, Reading, Unreadable

COUNT = {"documents": 0}
LEAK: list[bytes] = []


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """Do what the document says, and answer with what came of it."""
    COUNT["documents"] += 1
    deed, _, rest = data.decode().partition(" ")
    text = DEEDS[deed](rest, limits, within)
    return Reading("text", (Page(1, (Block(str(text)),)),))


def render(data: bytes, pages: Sequence[int], limits: Limits) -> list[bytes]:
    """Pictures, or what is none."""
    if b"hang" in data:
        time.sleep(60)
    return [b"\xff\xd8\xff" + bytes(number) for number in pages if number < 900] + [b"GIF89a"] * (999 in pages)


def _tried(deed, *arguments):
    try:
        return f"did {deed(*arguments)}"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def _answered(content: bytes):
    os.write(0, content)
    time.sleep(5)


def _started(count: int):
    threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "threads"


def _abort_if_used(_rest, _limits, _within):
    if COUNT["documents"] > 1:
        os.abort()
    return "well"


def _taken(mib: int):
    LEAK.append(bytes(mib * 1024 * 1024))
    return len(LEAK)


def _nested(depth: str, _limits, within):
    return within(f"nest {int(depth) - 1}".encode(), "a.txt").text if int(depth) else "bottom"


def _parts(count: str, _limits, within):
    for _ in range(int(count)):
        within(b"say x", "a.txt")
    return "parts"


def _raised(name: str):
    raise {"exit": SystemExit(0), "key": KeyError("secret"), "import": ImportError("no lib"), "deep": RecursionError()}[
        name
    ]


def _refused(message: str):
    raise Unreadable("password_required", message)


DEEDS = {
    "say": lambda rest, *_: rest,
    "pid": lambda *_: os.getpid(),
    "abort": lambda *_: os.abort(),
    "abort-if-used": _abort_if_used,
    "kill-self": lambda *_: signal.raise_signal(signal.SIGKILL),
    "segfault": lambda *_: ctypes.string_at(0),
    "sleep": lambda rest, *_: time.sleep(float(rest)),
    "spin": lambda *_: sum(iter(int, 1)),  # in C, with the lock of the interpreter held
    "ignore": lambda *_: (signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals)), time.sleep(60)),
    "memory": lambda *_: len(b"x" * 8 * 1024**3),
    "leak": lambda rest, *_: _taken(int(rest)),
    "native-memory": lambda *_: ctypes.memset(ctypes.CDLL(None).malloc(2**40), 1, 2**40),
    "raise": lambda rest, *_: _raised(rest),
    "refuse": lambda rest, *_: _refused(rest),
    "answer": lambda rest, *_: _answered(bytes.fromhex(rest)),
    "huge": lambda *_: _answered(struct.pack(">B?Q", 2, False, 2**62)),
    "odd": lambda *_: _answered(struct.pack(">B?Q", 2, False, 2) + b"{}"),
    "long": lambda rest, *_: "x" * int(rest),
    "surrogate": lambda *_: "a\ud800b\0c",
    "nest": _nested,
    "parts": _parts,
    "limits": lambda _rest, limits, _within: (limits.password, limits.max_pages),
    "environment": lambda *_: sorted(os.environ),
    "descriptors": lambda *_: [place for place in range(50) if _is_open(place)],
    "threads": lambda rest, *_: _started(int(rest)),
    "socket": lambda *_: _tried(socket.socket),
    "connect": lambda rest, *_: _tried(socket.create_connection, ("127.0.0.1", int(rest))),
    "lookup": lambda *_: _tried(socket.getaddrinfo, "localhost", 80),
    "open": lambda rest, *_: _tried(lambda: Path(rest).read_text()[:40]),
    "list": lambda rest, *_: _tried(os.listdir, rest),
    "write": lambda rest, *_: _tried(lambda: Path(rest).write_text("x")),
    "remove": lambda rest, *_: _tried(os.remove, rest),
    "run": lambda *_: _tried(subprocess.run, ["true"]),
    "system": lambda *_: _tried(os.system, "true"),
    "fork": lambda *_: _tried(os.fork),
}


def _is_open(place: int) -> bool:
    try:
        os.fstat(place)
    except OSError:
        return False
    return True
