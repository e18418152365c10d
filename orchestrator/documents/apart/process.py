"""One process in which documents are read, from the side that asks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import Any, Final

from orchestrator.documents.apart import wire
from orchestrator.documents.apart.wire import Answer, Asked, Died
from orchestrator.errors import Broken

_START_S: Final = 60.0
_READY_BYTES: Final = 4_096
_KEPT_ENVIRONMENT: Final = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL",
)  # fmt: skip
_ENVIRONMENT: Final = {
    # One process a core is what the pool is for; threads within would take memory, and the others' time.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


class Process:
    """A process that reads one document at a time, without secrets in its environment."""

    def __init__(self, memory_bytes: int, readers: str) -> None:
        """Start it. The kernel ends it when the calling thread ends: call this on one that lasts."""
        told = json.dumps({"memory_bytes": memory_bytes, "readers": readers})
        self._channel, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-X", "utf8", "-m", "orchestrator.documents.apart.child", told],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_ENVIRONMENT | {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
                    cwd="/",
                    start_new_session=True,  # a Ctrl-C is for us; we end the process in order
                )
        except OSError as error:
            self._channel.close()
            raise _not_started(str(error)) from error
        self.pid = self._process.pid
        self.documents = 0
        """How many it has been given."""
        self.guards: dict[str, Any] = {}

    def wait_until_ready(self) -> None:
        """Wait until its walls are up; raises Broken where it does not start."""
        try:
            told = wire.answer_of(self._channel, _READY_BYTES, time.monotonic() + _START_S)
        except (Died, OSError) as error:
            raise _not_started("it says nothing") from error
        if told.kind != wire.READY:
            raise _not_started(told.content.decode("utf-8", "replace"))
        self.guards = json.loads(told.content)

    def ask(self, asked: Asked, descriptor: int, *, within_s: float, most_bytes: int) -> Answer:
        """Its answer about an open file. Raises TimeoutError when the time is over, and Died where it ended over the file."""
        self.documents += 1
        self._channel.settimeout(within_s)
        until = time.monotonic() + within_s
        try:
            wire.ask(self._channel, asked, descriptor)
            return wire.answer_of(self._channel, most_bytes, until)
        except TimeoutError:
            raise
        except OSError:
            raise Died from None

    def is_alive(self) -> bool:
        """Whether it is still there."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it at once: it holds nothing that an orderly end would save."""
        self.kill()
        self._channel.close()

    def kill(self) -> None:
        """End it at once, and leave the socket to the thread that waits for an answer."""
        self._process.kill()
        self._process.wait()


def _not_started(why: str) -> Broken:
    return Broken(f"The process that reads documents does not start ({why}). Install Rightsize anew, or report it.")
