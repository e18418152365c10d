"""Documents read by the product's pool, several at once: what each gave, how long it took, and how much memory the readers had."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.documents.collection import Document
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.reading import Reading, Unreadable
from orchestrator.documents.work import Documents

EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Read:
    """What came of one document."""

    document: Document
    reading: Reading | None
    error: Unreadable | None
    seconds: float

    @property
    def text(self) -> str:
        """Its Markdown; empty where it could not be read."""
        return "" if self.reading is None else self.reading.text

    @property
    def pages(self) -> int:
        return 0 if self.reading is None else len(self.reading.pages)


def read(pool: Pool, document: Document) -> Read:
    """One document as the command reads it: each scanned page of it in a time of its own."""
    documents, began = Documents(pool, 1, lambda _: frozenset()), time.monotonic()
    with document.path.open("rb") as stream:
        try:
            # What becomes of the reading in a row is another matter: the pages that are looked at have lost their text there.
            reading, error = documents.reading_of(stream, document.path.name), None
        except Unreadable as refusal:
            reading, error = None, refusal
    return Read(document, reading, error, time.monotonic() - began)


def read_all(pool: Pool, documents: Sequence[Document], at_once: int) -> tuple[list[Read], float]:
    """Every document, in their order, and the seconds that all of them took together."""
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as threads:
        found = list(threads.map(lambda one: read(pool, one), documents))
    return found, time.monotonic() - began


class Memory:
    """The most memory that any reader had, at its highest point, while the block runs: the kernel's own mark, read often."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory of readers")
        self.most_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        for pid in self._pool.pids:
            self.most_bytes = max(self.most_bytes, high_water_bytes(pid))


def high_water_bytes(pid: int) -> int:
    """The most resident memory that a process had so far; 0 of one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 if line else 0
