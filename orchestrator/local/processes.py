"""What the operating system knows about processes: whether one is still the same, and which are ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
ON_LINUX: bool = sys.platform.startswith("linux")


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot, or None if it is gone or only waits to be reaped.

    A pid with its start names one process for ever; a pid alone may be another one's by now. Without /proc it is 0.
    """
    if pid <= 0:
        return None
    if not ON_LINUX:
        return 0 if _exists(pid) else None
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_same(pid: int, ticks: int) -> bool:
    """Whether the process that had this pid and start still runs."""
    return start_ticks(pid) == ticks


def marked(program: str, mark: str) -> list[int]:
    """The processes of a program whose command line (or title) holds `mark`.

    Command lines can be read whoever the process belongs to; in a container root may not read its folder. The name of
    the program keeps others that only mention the mark, such as a client, out.
    """
    found = []
    for entry in PROC.glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "cmdline").read_bytes() and name_of(int(entry.name)) == program:
                found.append(int(entry.name))
        except OSError:  # gone meanwhile
            continue
    return found


def name_of(pid: int) -> str:
    """The short name of the program that a process runs, or nothing if it is gone or only waits to be reaped."""
    if start_ticks(pid) is None:
        return ""
    try:
        return (PROC / str(pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def end_all(pids: Iterable[int], *, within_s: float) -> None:
    """Wait for processes that are about to end, then kill those that did not."""
    left = {pid: ticks for pid in pids if (ticks := start_ticks(pid)) is not None}
    until = time.monotonic() + within_s
    while left and time.monotonic() < until:
        time.sleep(0.01)
        left = {pid: ticks for pid, ticks in left.items() if is_same(pid, ticks)}
    for pid in left:
        send(pid, signal.SIGKILL)
    until = time.monotonic() + 2.0
    while any(is_same(pid, ticks) for pid, ticks in left.items()) and time.monotonic() < until:
        time.sleep(0.01)


def send(pid: int, number: signal.Signals, *, group: bool = False) -> None:
    """Send a signal to a process or its group; one that is gone already is what we want."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child ended. On Linux it is not collected by that, so that its process group can still be named."""
    if ON_LINUX:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return process.poll() is not None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
