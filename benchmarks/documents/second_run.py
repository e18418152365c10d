"""A folder of which little has changed, submitted again: only what changed is read and run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any, Final

from benchmarks.documents import made
from benchmarks.documents.running import SCHEMA, Service, service, settled
from benchmarks.report import Row, Scale, at_most, told
from benchmarks.stack import fleet
from orchestrator.client import Rightsize
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.inputs import Wanted, inputs_of
from orchestrator.documents.work import Documents

DOCUMENTS: Final = 1_000
CHANGED: Final = 10
KINDS: Final = ("pdf", "docx", "html", "pdf", "txt")
SIZE: Final = 36
"""Paragraphs of each: three pages of a PDF."""
SHARE: Final = 0.10
RAN: Final = """
    SELECT count(DISTINCT a.job_id) FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN batches b ON b.id = j.batch_id
    WHERE b.public_id = %s
"""


def measure(scale: Scale) -> list[Row]:
    count, changed = scale.of(DOCUMENTS), scale.of(CHANGED)
    with tempfile.TemporaryDirectory(prefix="rs-bench-documents-") as name, service(fleet()) as running:
        folder = Path(name)
        paths = made.many(folder, count, KINDS, SIZE)
        ran, took_s = [], []
        for number in range(2):
            _change(paths[:changed] if number else ())
            command = running.submit(folder)
            batch = command.batch()
            took_s.append(command.seconds)
            ended = settled(running, batch["id"])
            assert ended["request_counts"]["completed"] == count, ended
            ran.append(running.one(RAN, batch["id"].removeprefix("batch_")))
        reading_s = [_reading_s(running, folder, count, is_first=True)]
        _change(paths[changed : 2 * changed])
        reading_s.append(_reading_s(running, folder, changed, is_first=False))
    return rows(count, changed, ran, took_s, reading_s)


def rows(
    count: int, changed: int, ran: Sequence[int], took_s: Sequence[float], reading_s: Sequence[float]
) -> list[Row]:
    shape = f"{count} documents of our own making ({', '.join(sorted(set(KINDS)))}), of which {changed} changed"
    return [
        at_most("second run: jobs that ran, apart from those that changed", abs(ran[1] - changed), 0, "",
                note=f"{shape}: {ran[0]} jobs in the first run, {ran[1]} in the second, by their attempts"),
        at_most("second run: reading time, of the first's", reading_s[1] / reading_s[0], SHARE, "x", baseline=reading_s[0],
                note="baseline in s; from nothing to the last row: readers started, files hashed, the service asked, documents read"),
        told("second run: the command, of the first's", took_s[1] / took_s[0], "x",
             note=f"{took_s[1]:.1f} s against {took_s[0]:.1f} s, from its start to its end, upload and batch included"),
    ]  # fmt: skip


def _change(paths: Sequence[Path]) -> None:
    """Give documents another text."""
    for path in paths:
        made.write(path, [f"Changed at {time.time_ns()}", f"This was {path.name} before."])


def _reading_s(running: Service, folder: Path, expected: int, *, is_first: bool) -> float:
    """Seconds that the rows of a folder take to make, as the command makes them; the first time nothing is known.

    Fails unless so many documents were read as expected.
    """
    at_once = os.cpu_count() or 1
    with running.client() as client:
        began = time.monotonic()
        with Pool(children=at_once) as pool, tempfile.TemporaryDirectory(prefix="rs-bench-copies-") as copies:
            documents = Documents(pool, at_once, _nothing if is_first else _asking(client))
            for _ in documents.lines(inputs_of(Wanted(str(folder)), Path(copies))):
                pass
            seconds = time.monotonic() - began
        read = documents.counts.read
    assert read == expected, f"{read} documents were read, not {expected}"
    return seconds


def _nothing(_: Sequence[str]) -> Set[str]:
    return frozenset()


def _asking(client: Rightsize) -> Callable[[Sequence[str]], Set[str]]:
    """Asks the service what it has answers to."""
    known: dict[str, Any] = client.known_documents("extract", [], parameters={"schema": SCHEMA})

    def ask(hashes: Sequence[str]) -> Set[str]:
        return set(client.known_documents("extract", hashes, version=known["task_version"])["known"])

    return ask
