"""Files as drafts in their order, some documents ahead of the one whose turn it is: readers work while rows are taken."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, Self

from orchestrator.documents import chat, jsonl, tables
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.drafting import Bodies, limits_of, picture_body
from orchestrator.documents.files import Found, open_regular, unreadable
from orchestrator.documents.lines import MIB, Draft, RowOptions, Unfit
from orchestrator.documents.reading import Unreadable
from orchestrator.documents.small import SMALL_BYTES, read_small
from orchestrator.media import picture

ROW_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv"})
AHEAD: Final = 4
"""Documents that are read ahead for each process that reads."""
AHEAD_BYTES: Final = 128 * MIB
"""Of their files, all together, where there are several."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file whose turn comes: its drafts, which are made then, or one that is being made."""

    drafts: Iterator[Draft] | Future[Draft]
    bytes: int = 0


class Drafts:
    """Makes the drafts. A context manager, at whose end no process is left; none starts before a document needs one."""

    def __init__(self, options: RowOptions) -> None:
        self._options, self._limits = options, limits_of(options)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # The pool is closed first, so that no thread waits for a process any more.
        pool = Pool()
        self._at_once = pool.children
        self._threads = self._open.enter_context(ThreadPoolExecutor(self._at_once, thread_name_prefix="rightsize-read"))
        self._bodies = Bodies(self._open.enter_context(pool), self._options)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def of(self, files: Iterable[Found], *, follow: bool) -> Iterator[Draft]:
        """The drafts of each file. `follow` says whether a link is followed: only what was named itself."""
        waiting: deque[_Waiting] = deque()
        for found in files:
            waiting.append(self._begun(found, follow=follow))
            while waiting and self._has_turn(waiting):
                yield from _taken(waiting.popleft())
        while waiting:
            yield from _taken(waiting.popleft())

    def _has_turn(self, waiting: deque[_Waiting]) -> bool:
        """Whether the first has nothing to wait for, or enough wait behind it."""
        if not isinstance(waiting[0].drafts, Future) or len(waiting) > AHEAD * self._at_once:
            return True
        return len(waiting) > 1 and sum(one.bytes for one in waiting) > AHEAD_BYTES

    def _begun(self, found: Found, *, follow: bool) -> _Waiting:
        """A file as it begins to be read: of most kinds that happens later, or elsewhere."""
        if found.unfit:
            return _Waiting(iter([_draft(found, found.unfit)]))
        if PurePosixPath(found.name).suffix.lower() in ROW_SUFFIXES | TABLE_SUFFIXES:
            return _Waiting(self._rows(found, follow=follow))
        try:
            with open_regular(found.path, follow=follow) as stream:
                head, size = _head(stream), os.fstat(stream.fileno()).st_size
            if picture.kind_of(head[:12]):
                return _Waiting(self._picture(found, follow=follow))
            small = read_small(head, found.name, self._limits)
            if small is not None:
                return _Waiting(iter([_draft(found, chat.of_text(small, self._options))]))
        except (Unreadable, Unfit) as problem:
            return _Waiting(iter([_draft(found, problem)]))
        read = partial(self._bodies.body, name=found.name)
        return _Waiting(self._threads.submit(_made, found, read, follow=follow), size)

    def _rows(self, found: Found, *, follow: bool) -> Iterator[Draft]:
        """The drafts of a file that holds many; what goes wrong with it is its last one."""
        suffix = PurePosixPath(found.name).suffix.lower()
        try:
            with open_regular(found.path, follow=follow) as stream:
                if suffix in ROW_SUFFIXES:
                    yield from jsonl.read_rows(stream, found.name, self._options, direct=follow)
                else:
                    yield from tables.read_rows(stream, found.name, self._options, tabs=suffix == ".tsv")
        except Unfit as unfit:
            yield _draft(found, unfit)

    def _picture(self, found: Found, *, follow: bool) -> Iterator[Draft]:
        """The draft of a picture, which is held only when its turn has come."""
        yield _made(found, partial(picture_body, options=self._options), follow=follow)


def _taken(waiting: _Waiting) -> Iterator[Draft]:
    drafts = waiting.drafts
    return iter([drafts.result()]) if isinstance(drafts, Future) else drafts


def _head(stream: BinaryIO) -> bytes:
    """All of a small file, and more than that of a larger one."""
    try:
        return stream.read(SMALL_BYTES + 1)
    except OSError as error:
        raise unreadable(error, "file") from error


def _made(found: Found, body_of: Callable[[BinaryIO], dict[str, Any]], *, follow: bool) -> Draft:
    """The draft of a file that is one request, or that says why there is none."""
    try:
        with open_regular(found.path, follow=follow) as stream:
            return _draft(found, body_of(stream))
    except OSError as error:
        return _draft(found, unreadable(error, "file"))
    except (Unreadable, Unfit) as problem:
        return _draft(found, problem)


def _draft(found: Found, content: dict[str, Any] | Unreadable | Unfit) -> Draft:
    told = Unfit(content.code, content.message) if isinstance(content, Unreadable) else content
    return Draft(found.name, told, source=found.name)
