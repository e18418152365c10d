"""PDFs as requests, read in one process apart, which is replaced when it dies or hangs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, get_args

from orchestrator.documents.lines import (
    MIB,
    Draft,
    RowCode,
    RowOptions,
    Unfit,
    body_for,
    checked_text,
    picture_question,
)
from orchestrator.documents.pictures import missing_extra

TIMEOUT_S: Final = 20.0
MAX_BYTES: Final = 100 * MIB
MAX_PAGES: Final = 500
MAX_PICTURES: Final = 20
MAX_ANSWER_BYTES: Final = 64 * MIB
MAX_FILES_A_CHILD: Final = 500
"""What leaks in the library is given back with its process."""

_CHILD: Final = Path(__file__).with_name("pdf_child.py")
_KEPT_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class _Died(Exception):
    """The process ended, or said something that it must not, while it had a file."""


class PdfReader:
    """Reads one PDF after the other; a context manager, at whose end no process is left.

    The process starts with the first PDF. It has 20 s and 2 GiB for each file, no secrets in its environment, and
    gets the open file, never a path.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def pid(self) -> int | None:
        """The process that reads, where there is one."""
        return self._child.pid if self._child else None

    def read(self, stream: BinaryIO, source: str, options: RowOptions) -> Iterator[Draft]:
        """One draft: the text with marks of pages, or pictures of the pages where there is no text layer.

        Raises Unfit for a PDF that is locked, broken, too long, or that takes too much time or memory.
        """
        answer = self._ask(stream, options)
        if isinstance(text := answer.get("text"), str):
            body = body_for(checked_text(text, options, "The text of the PDF"), options)
        else:
            urls = [f"data:image/jpeg;base64,{picture}" for picture in answer["pictures"]]
            body = body_for(picture_question(options), options, urls)
        yield Draft(source, body, source=source)

    def _ask(self, stream: BinaryIO, options: RowOptions) -> dict[str, Any]:
        wanted = {
            "timeout_s": self._timeout_s,
            "max_bytes": MAX_BYTES,
            "max_pages": MAX_PAGES,
            "max_pictures": MAX_PICTURES,
            "max_chars": options.max_input_chars,
        }
        for is_last in (False, True):  # once more, since the one before it may have left the process unwell
            try:
                answer = self._exchange(stream, wanted)
            except TimeoutError:
                self._stop()
                message = f"The PDF was not read within {self._timeout_s:g} s. Save it anew, or split it."
                raise Unfit("unreadable_file", message) from None
            except (_Died, OSError):
                self._stop()
                if is_last:
                    break
            else:
                return self._checked(answer)
        raise Unfit("unreadable_file", "The PDF is broken: the process that read it ended over it. Save it anew.")

    def _exchange(self, stream: BinaryIO, wanted: dict[str, Any]) -> Any:
        """Hand an open file to the process and wait for its answer, within the time for one file."""
        stream.seek(0)
        channel = self._started()
        self._files += 1
        until = time.monotonic() + self._timeout_s
        channel.settimeout(self._timeout_s)
        socket.send_fds(channel, [json.dumps(wanted).encode()], [stream.fileno()])
        size = int.from_bytes(_received(channel, 8, until), "big")
        if size > MAX_ANSWER_BYTES:
            raise _Died
        try:
            return json.loads(_received(channel, size, until))
        except ValueError:
            raise _Died from None

    def _checked(self, answer: Any) -> dict[str, Any]:
        """The answer where it has the form agreed: the process may have been taken over by what it read."""
        if not isinstance(answer, dict):
            raise Unfit("unreadable_file", "The PDF is broken. Save it anew.")
        if answer.get("spent"):
            self._stop()
        code, message = answer.get("error"), answer.get("message")
        if code == "missing_extra":
            raise missing_extra()
        if known := next((one for one in get_args(RowCode) if one == code), None):
            raise Unfit(known, str(message)[:500])
        pictures = answer.get("pictures")
        if isinstance(answer.get("text"), str) or (
            isinstance(pictures, list)
            and 0 < len(pictures) <= MAX_PICTURES
            and all(isinstance(picture, str) and _BASE64.fullmatch(picture) for picture in pictures)
        ):
            return answer
        raise Unfit("unreadable_file", "The PDF is broken. Save it anew.")

    def _started(self) -> socket.socket:
        if self._files >= MAX_FILES_A_CHILD or (self._child and self._child.poll() is not None):
            self._stop()
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._child = subprocess.Popen(
                    [sys.executable, "-P", str(_CHILD)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
                    cwd="/",
                    start_new_session=True,  # a Ctrl-C is for us; we end the process in order
                )
            self._socket, self._files = ours, 0
        return self._socket

    def _stop(self) -> None:
        """End the process at once: it holds nothing that an orderly end would save."""
        if self._socket:
            self._socket.close()
        if self._child:
            self._child.kill()
            self._child.wait()
        self._child = self._socket = None
        self._files = 0


def _received(channel: socket.socket, size: int, until: float) -> bytes:
    """Exactly so many bytes; raises TimeoutError when the time is over and _Died where the process is gone."""
    data = bytearray()
    while len(data) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        piece = channel.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise _Died
        data += piece
    return bytes(data)
