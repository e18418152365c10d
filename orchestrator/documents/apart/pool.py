"""Documents read in processes apart, as many at once as there are threads that ask: `Pool` is the way in."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, BinaryIO, Final, Self, TypeVar, get_args

import orjson

from orchestrator.documents.apart import wire
from orchestrator.documents.apart.process import Process
from orchestrator.documents.apart.sandbox import MEMORY_BYTES, Guards
from orchestrator.documents.apart.wire import Answer, Asked, Died
from orchestrator.documents.packed.unpacking import no_room
from orchestrator.documents.reading import MOST_BLOCKS, Limits, Reading, Refusal, Unreadable, from_json
from orchestrator.errors import Broken

READERS: Final = "orchestrator.documents.readers"
MOST_NAME: Final = 255
MOST_PICTURE_BYTES: Final = 8 * 1024 * 1024
"""Of one page; all pages together are bounded by their number."""
_MOST_MESSAGE: Final = 500
_CHUNK_BYTES: Final = 1024 * 1024
_BYTES_A_CHAR: Final = 6
"""Of an answer at most: a control character in JSON."""
_BYTES_A_BLOCK: Final = 128
"""Of an answer, beside its text."""
_JPEG: Final = b"\xff\xd8\xff"

Result = TypeVar("Result")


class Pool:
    """Reads documents, each in a process that has no network, no files and bounded memory. A context manager.

    A process starts when a thread asks and none is free, up to `children`; it is kept, and replaced when it dies, hangs, has
    grown or has read some hundred documents. All end with the block, and when this process dies.
    """

    def __init__(
        self, *, children: int | None = None, memory_bytes: int = MEMORY_BYTES, readers_module: str = READERS
    ) -> None:
        self._most = children or len(os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1))
        self._memory_bytes, self._readers = memory_bytes, readers_module
        self._changed = threading.Condition()
        self._free: list[Process] = []
        self._all: set[Process] = set()
        self._starting = 0
        self._closed = False
        # The kernel ends a process when the thread that started it ends: one that lasts as long as the pool starts them all.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="documents")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process at once, also those that are reading."""
        with self._changed:
            self._closed = True
            processes = list(self._all)
            while self._free:
                self._free.pop().end()
            self._changed.notify_all()
        for process in processes:
            process.kill()  # whoever waits for it closes its socket
        self._starter.shutdown()

    @property
    def children(self) -> int:
        """How many documents are read at the same time."""
        return self._most

    @property
    def pids(self) -> list[int]:
        """The processes that there are."""
        with self._changed:
            return sorted(process.pid for process in self._all)

    def guards(self) -> Guards:
        """Which walls hold around a process of this pool."""
        process = self._taken()
        self._give_back(process)
        return Guards(**process.guards)

    def read(self, stream: BinaryIO, name: str, limits: Limits | None = None) -> Reading:
        """What is in a document: its kind by its content, the name being a hint. May be called from several threads.

        Raises Unreadable with the cause and the remedy, also for a document over which a process crashed, hung or ran out of memory.
        """
        chosen = limits or Limits()
        most_bytes = _BYTES_A_CHAR * chosen.max_chars + _BYTES_A_BLOCK * MOST_BLOCKS
        return self._asked(stream, Asked(name[-MOST_NAME:], chosen), most_bytes, _reading_in)

    def render(self, stream: BinaryIO, pages: Sequence[int], limits: Limits | None = None) -> list[bytes]:
        """JPEG pictures of pages of a PDF, which are asked for by their numbers from 1. Raises as `read` does."""
        asked = Asked("", limits or Limits(), list(pages))
        most_bytes = MOST_PICTURE_BYTES * (len(pages) + 1)
        return self._asked(stream, asked, most_bytes, lambda one: _pictures_in(one, len(pages)))

    def _asked(
        self, stream: BinaryIO, asked: Asked, most_bytes: int, understood: Callable[[Answer], Result | Unreadable]
    ) -> Result:
        """Have one document seen to; once more where a process died over it, since the one before may have left it unwell."""
        left_s = asked.limits.timeout_s
        with _open_file(stream, asked.limits.max_bytes) as descriptor:
            for is_last in (False, True):
                process = self._taken()
                is_used, begun = process.documents > 0, time.monotonic()
                try:
                    result = self._exchanged(process, asked, descriptor, left_s, most_bytes, understood)
                except TimeoutError:
                    message = f"It was not read within {asked.limits.timeout_s:g} s. Save it anew, or split it."
                    raise Unreadable("unreadable_file", message) from None
                except _OutOfMemory:
                    if is_last or not is_used:
                        break
                except Died:
                    if is_last:
                        break
                else:
                    if isinstance(result, Unreadable):
                        raise result
                    return result
                left_s = max(left_s - (time.monotonic() - begun), 0.1)
        if self._closed:
            raise _was_closed()
        most = f"{self._memory_bytes // 1024**2:,} MiB"
        message = f"It is broken, or takes over {most} of memory: the process that read it ended over it."
        raise Unreadable("unreadable_file", f"{message} Save it anew, or split it.")

    def _exchanged(
        self,
        process: Process,
        asked: Asked,
        descriptor: int,
        within_s: float,
        most_bytes: int,
        understood: Callable[[Answer], Result | Unreadable],
    ) -> Result | Unreadable:
        """One exchange with a process, which is given back if it came to an end, and ended if not."""
        is_well = False
        try:
            answer = process.ask(asked, descriptor, within_s=within_s, most_bytes=most_bytes)
            result = understood(answer)
            is_well = not answer.is_spent
            return result
        except (ValueError, KeyError, TypeError):  # it may have been taken over by what it read
            raise Died from None
        finally:
            if is_well:
                self._give_back(process)
            else:
                self._end(process)

    def _taken(self) -> Process:
        """A process that nobody else has: the one that was used last, a new one, or the next that is given back."""
        with self._changed:
            while True:
                if self._closed:
                    raise _was_closed()
                if self._free:
                    process = self._free.pop()
                    if process.is_alive():
                        return process
                    self._all.discard(process)
                    process.end()
                elif len(self._all) + self._starting < self._most:
                    self._starting += 1
                    break
                else:
                    self._changed.wait()
        return self._started()

    def _started(self) -> Process:
        try:
            process = self._starter.submit(Process, self._memory_bytes, self._readers).result()
        except BaseException as error:
            with self._changed:
                self._starting -= 1
                self._changed.notify()
            if self._closed:
                raise _was_closed() from error
            raise
        with self._changed:
            self._starting -= 1
            self._all.add(process)
        try:
            process.wait_until_ready()
            if self._closed:
                raise _was_closed()
        except BaseException as error:
            self._end(process)
            if self._closed:
                raise _was_closed() from error
            raise
        return process

    def _give_back(self, process: Process) -> None:
        with self._changed:
            if not self._closed:
                self._free.append(process)
                self._changed.notify()
                return
        process.end()

    def _end(self, process: Process) -> None:
        process.end()
        with self._changed:
            self._all.discard(process)
            self._changed.notify()


def _was_closed() -> Broken:
    return Broken("The pool of readers was closed. Submit the document again.")


class _OutOfMemory(Died):
    """The process could not get the memory for a document."""


def _reading_in(answer: Answer) -> Reading | Unreadable:
    if answer.kind == wire.READING:
        return from_json(orjson.loads(answer.content))
    return _refusal_in(answer)


def _pictures_in(answer: Answer, count: int) -> list[bytes] | Unreadable:
    if answer.kind != wire.PICTURES:
        return _refusal_in(answer)
    pictures = wire.unpacked(answer.content)
    if len(pictures) != count or not all(picture.startswith(_JPEG) for picture in pictures):
        raise ValueError("pictures")
    return pictures


def _refusal_in(answer: Answer) -> Unreadable:
    if answer.kind == wire.NO_MEMORY:
        raise _OutOfMemory
    if answer.kind != wire.REFUSAL:
        raise ValueError("answer")
    told = orjson.loads(answer.content)
    code = next((one for one in get_args(Refusal) if one == told["error"]), None)
    if code is None:
        raise ValueError("refusal")
    return Unreadable(code, str(told["message"])[:_MOST_MESSAGE])


@contextmanager
def _open_file(stream: BinaryIO, most_bytes: int) -> Iterator[int]:
    """The descriptor of a regular file with what a stream holds: its own, or that of a copy without a name."""
    raw = getattr(stream, "raw", stream)
    # Others, such as a member of an archive, may have the descriptor of the file that they are a part of.
    if isinstance(raw, io.FileIO) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        yield raw.fileno()
        return
    with tempfile.TemporaryFile() as copy:
        _fill(copy, stream, most_bytes + 1)
        yield copy.fileno()


def _fill(copy: IO[bytes], stream: BinaryIO, most_bytes: int) -> None:
    try:
        while most_bytes > 0 and (piece := stream.read(min(most_bytes, _CHUNK_BYTES))):
            copy.write(piece)
            most_bytes -= len(piece)
        copy.flush()
    except OSError as error:
        raise no_room(error) from None
