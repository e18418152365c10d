"""Processes of ours, forked from one that has imported everything already: importing takes each of them seconds of a core.

A forked process runs its code as `python -c` would, in a session of its own, with an environment and a log of its own; it
shares nothing with its siblings but the modules as they are right after their import. `workers.app` is not among them: its
import reads the settings.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

IMPORTED: Final = (
    "orchestrator.commands", "orchestrator.intake", "orchestrator.api.server", "orchestrator.api.app",
    "workers.runtime", "workers.tasks", "celery.bin.celery", "celery.worker", "celery.worker.consumer", "celery.worker.components",
    "celery.apps.worker", "celery.concurrency.thread", "kombu.transport.redis",
)  # fmt: skip


class Started:
    """A process that the nursery has forked, with what tests use of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it lives."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"status": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status once it has ended; raises subprocess.TimeoutExpired after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(["forked", str(self.pid)], timeout or 0.0)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        # Until its status is asked for, its number cannot be another's.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without any chance to object."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks; it goes when its standard input does, and so with whoever started it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests import nursery; exec(nursery.serve(), {'__name__': '__main__'})"],
            cwd=Path(__file__).resolve().parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        atexit.register(self._close)

    def start(self, code: str, log: Path, env: Mapping[str, str]) -> Started:
        """Fork a process that runs `code`, with everything that it says in `log`."""
        return Started(self, self.ask({"code": code, "log": str(log), "env": dict(env)}))

    def ask(self, what: Mapping[str, Any]) -> Any:
        """One question and its answer."""
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None
        assert told is not None
        with self._lock:
            asked.write(orjson.dumps(what) + b"\n")
            asked.flush()
            line = told.readline()
        assert line, "the nursery has ended; it said why on standard error"
        return orjson.loads(line)

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@cache
def nursery() -> Nursery:
    """The one of this process."""
    return Nursery()


def serve() -> str:
    """Answer questions until standard input ends; in a forked process, return the code that it is to run."""
    for name in IMPORTED:
        importlib.import_module(name)
    tasks = len(list(Path("/proc/self/task").iterdir()))
    assert tasks == 1, f"importing has started {tasks - 1} threads, and a fork would lose them"
    gc.collect()
    # Taken out of all collections, since each would copy these pages for the process that runs it.
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        asked = orjson.loads(line)
        if "status" in asked:
            answer: int | None = _status(asked["status"])
        else:
            answer = os.fork()
            if answer == 0:
                return _born(asked)
        sys.stdout.write(f"{'null' if answer is None else answer}\n")
        sys.stdout.flush()
    sys.exit(0)


def _status(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _born(asked: Mapping[str, Any]) -> str:
    """Become what a process of its own would be: session, files, environment, arguments."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for file, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.closerange(3, max(nothing, log) + 1)
    os.environ.clear()
    os.environ.update(asked["env"])
    return str(asked["code"])
