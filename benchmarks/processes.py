"""Processes that a benchmark starts: each in a session of its own, ended by its pid, its CPU and memory read from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil


class Process:
    """One program with its children, which are killed with it."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        talks: bool = False,
        cwd: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        pipe = subprocess.PIPE if talks else subprocess.DEVNULL
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=pipe,
                stdout=pipe if talks else out,
                stderr=out,
                start_new_session=True,
                text=True,
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_until(self, ready: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait for a sign of readiness; raises with the end of the log if the program ends or takes too long."""
        until = time.monotonic() + within_s
        while not ready():
            if self.popen.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.name} did not become ready. Its log ends:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    def say(self, line: str) -> None:
        assert self.popen.stdin
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next line of JSON that the program prints."""
        assert self.popen.stdout
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended. Its log ends:\n{self.log.read_text()[-3000:]}")
        said: dict[str, Any] = json.loads(line)
        return said

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()

    def stop(self, within_s: float = 20.0) -> None:
        """End in order, or by force once the time is over."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(within_s)
        self.kill()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                stream.close()


def cpu_s(pids: Iterable[int]) -> float:
    """CPU-seconds so far of whole process trees: user and system, with children that have ended and were waited for."""
    total = 0.0
    for pid in pids:
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


class Peak:
    """The growth of a process's resident memory while something runs: the kernel's high-water mark, set back at the start."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")
        self._start = self._read("VmRSS")

    def grown_mb(self) -> float:
        """Megabytes (10^6 bytes) above the start, at the highest point."""
        return (self._read("VmHWM") - self._start) / 1e6

    def _read(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"This system does not tell {name}.")
