"""How many words of a scan's transcript are found, beside RapidOCR and Tesseract on the same pictures in the same run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.documents import made, scanned
from benchmarks.documents.collection import Document, collected
from benchmarks.documents.reads import Memory, Read, read, read_all
from benchmarks.documents.words import recall
from benchmarks.processes import Process
from benchmarks.report import Row, Scale, at_least, at_most, median, told
from benchmarks.stack import ROOT
from orchestrator.documents.apart.pool import Pool

SHARE: Final = 0.85
APART: Final = 0.02
"""By so much a peer may be better."""
MEMORY_MB: Final = 2_000.0
PAGE_S: Final = 60.0
LONG: Final = 20
"""Pages of a scanned document, as an office has many."""
PEERS: Final = ("rapidocr", "tesseract")
WANTED: Final = ("eng", "deu", "fra")
"""Languages that Tesseract is asked for where it has them."""

Recalls = dict[str, list[float]]
"""By group."""


def measure(scale: Scale) -> list[Row]:
    collection = collected()
    scans = _some(collection.scans(), scale)
    at_once = os.cpu_count() or 1
    with Pool(children=at_once) as pool, tempfile.TemporaryDirectory() as folder:
        long = read(pool, _long(Path(folder), scale.of(LONG)))  # the models are loaded as well
        with Memory(pool) as memory:
            found, seconds = read_all(pool, scans, at_once)
        pictures = {one.name: _pictures(pool, one, Path(folder)) for one in scans}
        pool.close()  # its memory is the peers' now
        peers = {name: peer(name, scans, pictures) for name in PEERS}
    ours = grouped(scans, [recall(one.text, one.document.text or "") for one in found])
    pages = sum(one.pages for one in found)
    slowest = max(found, key=lambda one: one.seconds / max(1, one.pages))
    return [
        *compared(ours, {name: theirs for name, (theirs, _) in peers.items()}, collection.origin),
        *speeds(pages / seconds, peers, at_once),
        at_most("scans: memory of a reader at its highest point", memory.most_bytes / 1e6, MEMORY_MB, "MB",
                note=f"{at_once} readers at once, each a process"),
        at_most("scans: the slowest page", slowest.seconds / max(1, slowest.pages), PAGE_S, "s", note=slowest.document.name),
        at_least(f"scans: pages read of a scanned document of {scale.of(LONG)}", _read_pages(long), scale.of(LONG), "",
                 note=f"{long.seconds:.1f} s, of our own making. {_told(long)}".rstrip()),
        at_most("scans: refused", sum(one.error is not None for one in found), 0, "", note=_refusals(found)),
    ]  # fmt: skip


def _long(folder: Path, count: int) -> Document:
    """A document of many scanned pages."""
    draw, path = random.Random(LONG), folder / "long.pdf"
    pages = [scanned.page([made.sentence(draw) for _ in range(25)], poor=0.2, draw=draw) for _ in range(count)]
    path.write_bytes(scanned.pdf(pages))
    return Document(path.name, path)


def _read_pages(one: Read) -> int:
    return 0 if one.reading is None else sum(bool(page.blocks) for page in one.reading.pages)


def _told(one: Read) -> str:
    """What the reader said of a document."""
    return "; ".join(one.reading.notes) if one.reading is not None else str(one.error)


def compared(ours: Recalls, peers: Mapping[str, Recalls | None], origin: str) -> list[Row]:
    """A row for each group: the median of ours, and how far the better peer is ahead."""
    rows = []
    for group, values in ours.items():
        mine = median(values)
        theirs = {name: median(found[group]) for name, found in peers.items() if found is not None}
        lacking = "".join(f"; {name} NOT measured: it is not installed" for name in peers if name not in theirs)
        shape = f"{len(values)} pages, the worst {min(values):.3f}, {origin}"
        rows.append(at_least(f"scans, {group}: words found, median", mine, SHARE, "", note=shape))
        best = max(theirs, key=lambda name: theirs[name])
        note = ", ".join(f"{name} {value:.4f}" for name, value in theirs.items()) + lacking
        rows.append(at_least(f"scans, {group}: against the better peer", mine - theirs[best], -APART, "", note=note))
    return rows


def speeds(rate: float, peers: Mapping[str, tuple[Recalls | None, float]], at_once: int) -> list[Row]:
    """Pages a second, shown."""
    rows = [told("scans: pages a second", rate, "1/s", note=f"{at_once} readers at once, with one thread each")]
    for name, (found, per_second) in peers.items():
        if found is not None:
            rows.append(
                told(f"scans: pages a second, {name}", per_second, "1/s", note="its defaults: one page at a time")
            )
    return rows


def grouped(documents: Sequence[Document], values: Sequence[float]) -> Recalls:
    """Values by the group of their document."""
    found: Recalls = {}
    for one, value in zip(documents, values, strict=True):
        found.setdefault(one.group, []).append(value)
    return found


def peer(name: str, scans: Sequence[Document], pictures: Mapping[str, Sequence[Path]]) -> tuple[Recalls | None, float]:
    """What a peer finds of each document, by group, and its pages a second; None where the machine has it not."""
    if name == "tesseract" and shutil.which("tesseract") is None:
        return None, 0.0
    values, seconds, pages = [], 0.0, 0
    with _running(name) as process:
        for number, one in enumerate(scans):
            texts = []
            for path in pictures[one.name]:
                process.say(str(path))
                answer = process.hear()
                texts.append(answer["text"])
                seconds += answer["seconds"] if number else 0.0  # the first one loads the models
                pages += number > 0
            values.append(recall("\n".join(texts), one.text or ""))
    return grouped(scans, values), pages / seconds if seconds else 0.0


@contextmanager
def _running(name: str) -> Iterator[Process]:
    with tempfile.TemporaryDirectory() as folder:
        argv = [
            sys.executable,
            "-m",
            "benchmarks.documents.ocr_peer",
            name,
            _languages() if name == "tesseract" else "",
        ]
        process = Process(name, argv, os.environ, Path(folder, "log"), talks=True, cwd=ROOT)
        try:
            process.hear()
            yield process
        finally:
            process.stop()


def _languages() -> str:
    told_by = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=True, timeout=30)
    there = [one for one in WANTED if one in told_by.stdout.split()]
    return "+".join(there) or "eng"


def _pictures(pool: Pool, one: Document, folder: Path) -> list[Path]:
    """Pictures of a document's pages, for readers that know nothing else."""
    if one.is_picture:
        return [one.path]
    with one.path.open("rb") as stream:
        pages = range(1, len(pool.read(stream, one.path.name).pages) + 1)
        stream.seek(0)
        rendered = pool.render(stream, list(pages))
    found = []
    for number, data in enumerate(rendered):
        path = folder / f"{one.path.stem}-{number}.jpg"
        path.write_bytes(data)
        found.append(path)
    return found


def _some(documents: Sequence[Document], scale: Scale) -> list[Document]:
    """All of them, or two of each group."""
    if not scale.quick:
        return list(documents)
    found: dict[str, list[Document]] = {}
    for one in documents:
        found.setdefault(one.group, []).append(one)
    return [one for group in found.values() for one in group[:2]]


def _refusals(found: Sequence[Read]) -> str:
    return "; ".join(f"{one.document.name}: {one.error.message}" for one in found if one.error)
