"""The process in which documents are read: it may crash, hang or be taken over at no harm to others.

Started by `process.Process`, it puts up its walls (`sandbox.enter`), tells which hold, and answers one request after the other over
the socket on its standard input, until the other end is closed. It gets open files, never a path.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import mimetypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from orchestrator.documents.apart import wire
from orchestrator.documents.apart.sandbox import LIFETIME_CPU_S, enter
from orchestrator.documents.kinds import ARCHIVES, kind_of
from orchestrator.documents.reading import MOST_BLOCKS, Limits, Reading, Unreadable, to_json

MOST_DOCUMENTS: Final = 5_000
"""What leaks in libraries is given back with the process."""
_FULL: Final = 0.75
"""The share of its memory above which it is replaced, once the document is read."""
_GRACE_S: Final = 2
_PIECE_BYTES: Final = 16 * 1024 * 1024
PICTURES: Final = frozenset({"png", "jpeg", "webp", "gif", "tiff"})


def main() -> None:
    """Answer one request after the other until the other end is closed."""
    told = json.loads(sys.argv[1])
    with socket.socket(fileno=0) as channel:
        try:
            readers = importlib.import_module(told["readers"])
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever was inherited
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            mimetypes.knownfiles.clear()  # what lies on this machine is no business of a reader
            usage = _Usage(told["memory_bytes"])
            guards = json.dumps(dataclasses.asdict(enter(told["memory_bytes"])))
        except Exception as error:  # who asks must learn of it, and nobody reads what this process prints
            wire.answer(channel, wire.Answer(wire.NOT_READY, is_spent=True, content=str(error)[:200].encode()))
            return
        wire.answer(channel, wire.Answer(wire.READY, is_spent=False, content=guards.encode()))
        while request := wire.asked_by(channel):
            asked, descriptor = request
            # The kernel's alarm ends this process even inside C code, should the other end be gone by then.
            signal.setitimer(signal.ITIMER_REAL, asked.limits.timeout_s + _GRACE_S)
            kind, content = _answer(readers, asked, descriptor)
            signal.setitimer(signal.ITIMER_REAL, 0)
            is_spent = usage.is_spent() or kind == wire.NO_MEMORY
            wire.answer(channel, wire.Answer(kind, is_spent, content))


class Within:
    """Has a document read, and what lies in it, and what lies in that: by content, and bounded all together."""

    def __init__(self, readers: ModuleType, limits: Limits) -> None:
        self._readers, self._limits = readers, limits
        self._depth = -1
        self._parts = self._bytes = 0

    def __call__(self, data: bytes, name: str) -> Reading:
        """The reading of a part: see `reading.Inner`."""
        self._parts += 1
        self._bytes += len(data)
        limits = self._limits
        if self._depth >= limits.max_depth:
            message = f"It is nested over {limits.max_depth} deep. Take it out, and submit it apart."
            raise Unreadable("unreadable_file", message)
        if self._parts > limits.max_parts:
            message = f"The document holds over {limits.max_parts:,} others. Take them out, and submit them apart."
            raise Unreadable("file_too_large", message)
        if self._bytes > limits.max_unpacked_bytes:
            most = f"{limits.max_unpacked_bytes:,}"
            raise Unreadable("file_too_large", f"What lies in the document has over {most} bytes. Submit it apart.")
        return self.read(data, name)

    def read(self, data: bytes, name: str) -> Reading:
        """The reading of a document, or of a part of the one that is being read."""
        kind = kind_of(data, name)
        self._depth += 1
        try:
            reading: Reading = self._reader(kind)(data, self._limits, self)
            return reading
        finally:
            self._depth -= 1

    def _reader(self, kind: str) -> Any:
        if kind in ARCHIVES:
            message = "It is an archive, which cannot be read as a document. Unpack it, and submit the files in it."
            raise Unreadable("unsupported_file", message)
        return reader_of(self._readers, kind).read


def reader_of(readers: ModuleType, kind: str) -> Any:
    """The module that reads a kind."""
    kinds: Mapping[str, str] = readers.KINDS
    if kind not in kinds:
        raise Unreadable("unsupported_file", f"Files of kind {kind} cannot be read. Convert it to PDF, DOCX or text.")
    return importlib.import_module(f"{readers.__name__}.{kinds[kind]}")


class _Usage:
    """How much of what it may take the process has taken."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes, self._documents = memory_bytes, 0
        # Opened while files can still be.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None

    def is_spent(self) -> bool:
        """Whether the process should be replaced; asked after each document."""
        self._documents += 1
        used = resource.getrusage(resource.RUSAGE_SELF)
        return (
            self._documents >= MOST_DOCUMENTS
            or used.ru_utime + used.ru_stime > LIFETIME_CPU_S / 2
            or self._bytes(used.ru_maxrss) > _FULL * self._memory_bytes
        )

    def _bytes(self, most_resident: int) -> int:
        """What it can write to, which is what is limited; where that cannot be told, the most memory that it had at once."""
        if self._statm is None:
            return most_resident
        return int(os.pread(self._statm, 128, 0).split()[5]) * resource.getpagesize()


def _answer(readers: ModuleType, asked: wire.Asked, descriptor: int) -> tuple[int, bytes]:
    try:
        try:
            data = _content(descriptor, asked.limits.max_bytes)
        finally:
            os.close(descriptor)
        if asked.pages is not None:
            return wire.PICTURES, _drawn(readers, data, asked)
        reading = _checked(Within(readers, asked.limits).read(data, asked.name), asked.limits)
        # A lone surrogate is no character, and some documents have them.
        return wire.READING, json.dumps(to_json(reading), ensure_ascii=False).encode("utf-8", "replace")
    except Unreadable as refused:
        return _refusal(refused)
    except MemoryError:
        return wire.NO_MEMORY, b""
    except ImportError as error:
        message = f"Reading it needs a library that cannot be loaded here ({str(error)[:200]}). "
        return _refusal(Unreadable("missing_extra", f"{message}Install it: pip install 'rightsize[documents]'."))
    except (Exception, SystemExit) as error:  # whatever a library raises costs this one document
        message = f"It is broken, or made in a way that is not known ({type(error).__name__}). Save it anew."
        return _refusal(Unreadable("unreadable_file", message))


def _content(descriptor: int, most_bytes: int) -> bytes:
    """All bytes of an open file, whose place is left as it is: others may read it as well."""
    pieces, place = [], 0
    while piece := os.pread(descriptor, min(_PIECE_BYTES, most_bytes + 1 - place), place):
        pieces.append(piece)
        place += len(piece)
    if place > most_bytes:
        message = f"A document may have at most {most_bytes:,} bytes, and this has more. Split it."
        raise Unreadable("file_too_large", message)
    return b"".join(pieces)


def _drawn(readers: ModuleType, data: bytes, asked: wire.Asked) -> bytes:
    kind = kind_of(data, asked.name)
    if kind in PICTURES:
        from orchestrator.documents.readers import picture_render

        return wire.packed(picture_render.render(data, asked.pages or (), asked.limits))
    if kind != "pdf":
        raise Unreadable("unsupported_file", "Only pages of a PDF and pictures can be drawn. Save it as PDF.")
    return wire.packed(reader_of(readers, "pdf").render(data, asked.pages, asked.limits))


def _checked(reading: Reading, limits: Limits) -> Reading:
    """What a reader let pass that is too long for an answer."""
    blocks = sum(len(page.blocks) for page in reading.pages)
    chars = sum(len(block.text) for page in reading.pages for block in page.blocks)
    if chars > limits.max_chars:
        message = f"It has {chars:,} characters of text, at most {limits.max_chars:,} can be read. Split it."
        raise Unreadable("text_too_long", message)
    if blocks > MOST_BLOCKS:
        message = f"It has {blocks:,} paragraphs and tables, at most {MOST_BLOCKS:,} can be read. Split it."
        raise Unreadable("text_too_long", message)
    return reading


def _refusal(refused: Unreadable) -> tuple[int, bytes]:
    return wire.REFUSAL, json.dumps({"error": refused.code, "message": refused.message}).encode()


if __name__ == "__main__":
    main()
