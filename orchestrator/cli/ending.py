"""How the process ends, whatever happens: one line with a remedy and an exit code, never a traceback.

It imports nothing that takes time, because it must stand before everything else is loaded.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn, TextIO

from orchestrator.errors import Busy, RightsizeError

REFUSED: Final = 1
"""Exit code of a command that was refused: something must be changed first."""
BUSY: Final = 5
"""Exit code of a command that may succeed if it is tried again: a server is away or full."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""


SHOW_CURSOR: Final = "\x1b[?25h"
"""A live table hides it."""
_last_words = ["Interrupted."]


class Escaped(Exception):
    """Carries its cause past Typer, which ends interrupts and broken pipes itself and without our words."""


def if_interrupted(words: str = "Interrupted.") -> None:
    """From now on Ctrl-C says this: what goes on without us, and how to follow it."""
    _last_words[0] = words


def in_order(run: Callable[[], None]) -> NoReturn:
    """Run the command line, say what went wrong, and leave with the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have us ignore it
        signal.signal(signal.SIGINT, _interrupt)
    _occupy_closed_descriptors()
    sys.stdout = _Output.text()
    code = _code(run)
    lost, unheard = _unwritten(sys.stdout), _unwritten(sys.stderr)
    if lost or unheard:
        # The interpreter would try once more at its end, and complain in its own way.
        os._exit(code or (_explained(lost) if lost else 0))
    sys.exit(code)


def _unwritten(stream: TextIO | None) -> OSError | None:
    """Write what a stream still holds; the error where that cannot be."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        return error
    return None


def _code(run: Callable[[], None]) -> int:
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        return _explained((isinstance(error, Escaped) and error.__cause__) or error)
    return 0


def _explained(error: BaseException) -> int:
    """Say what happened; the exit code. What has no explanation is ours, and keeps its traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if isinstance(error, KeyboardInterrupt):
        _say(_last_words[0])
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return 0  # the reader of our output has seen enough, as `head` has
    if isinstance(error, RightsizeError):
        _complain(error.message)
        return BUSY if isinstance(error, Busy) else REFUSED
    if isinstance(error, OSError):
        _complain(f"{error.filename or 'Input or output'}: {error.strerror or error}. Mend that and run it again.")
        return REFUSED
    raise error


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Interrupt what runs. In the midst of an import, leave at once instead.

    Libraries take an interrupt of their import for a failed one: NumPy's print a traceback and raise ImportError. And
    nothing has to be put in order then: locks fall with the process.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _say((SHOW_CURSOR if os.isatty(2) else "") + _last_words[0])
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="replace"))


def _complain(text: str) -> None:
    from orchestrator.cli.display import complain

    with suppress(OSError):
        complain(text)


def _occupy_closed_descriptors() -> None:
    """Put something that cannot be written on a closed 0, 1 or 2: the next file or lock would get its number."""
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)


class _Output(io.FileIO):
    """Standard output whose errors name it: also where it is closed, or its disk is full."""

    @classmethod
    def text(cls) -> io.TextIOWrapper:
        """It as text; what its encoding lacks is escaped."""
        given = sys.stdout
        raw = cls(1, "w", closefd=False)
        encoding = getattr(given, "encoding", None) or "utf-8"
        return io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
        )

    def write(self, content: object, /) -> int:
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, "Standard output") from None
