"""The parts' log files: how an error quotes their end, and how they stay bounded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 4096
TAIL_LINES: Final = 15
BYTES_MAX: Final = 64 * 1024 * 1024


def open_log(path: Path) -> int:
    """A descriptor that appends to a private log file."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def tail(path: Path, start: int = 0) -> str:
    """The last lines that were logged after the byte `start`."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= end else 0, end - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])


def quoted(path: Path, start: int = 0) -> str:
    """The end of a log as an error message shows it, with where the whole log is."""
    text = tail(path, start)
    return f"Its log {path} ends:\n{text}" if text else f"Its log is {path}."


def cut(path: Path) -> None:
    """Begin a log anew once it is over the limit, keeping one former file. Whoever appends goes on at the new end."""
    if path.exists() and path.stat().st_size > BYTES_MAX:
        former = path.with_suffix(".log.1")
        try:
            shutil.copyfile(path, former)
            former.chmod(0o600)
        except OSError:  # the disk is full, perhaps of this log
            former.unlink(missing_ok=True)
        os.truncate(path, 0)
