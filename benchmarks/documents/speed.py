"""Pages of text PDFs a second on one core, in turns with markitdown, pdfplumber and, where it works offline, docling."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.documents import peers
from benchmarks.documents.collection import Collection, Document, collected
from benchmarks.documents.reads import read_all
from benchmarks.documents.words import word_f1
from benchmarks.processes import Process, cpu_s
from benchmarks.report import Row, Scale, at_least, median, spread, told
from orchestrator.documents.apart.pool import Pool

PEERS: Final = ("markitdown", "pdfplumber")
TIMES: Final[Mapping[str, float]] = {"markitdown": 1.0, "pdfplumber": 3.0}
NEAR: Final = 0.0005
"""Less than this is no difference in word F1: the figures are told with three digits."""
OURS: Final = "ours"


@dataclass(slots=True)
class Reader:
    """One reader's rounds and what it read."""

    texts: Sequence[str | None]
    rates: list[float] = field(default_factory=list)
    """Pages a second of each round."""
    cpu_rates: list[float] = field(default_factory=list)
    """Pages by second of CPU, with all processes of the reader: other work on the machine changes these less."""

    def add_round(self, process: Process, pages: int) -> None:
        """Have everything read once more."""
        before = cpu_s([process.pid])
        process.say("again")
        self.rates.append(pages / process.hear()["seconds"])
        self.cpu_rates.append(pages / (cpu_s([process.pid]) - before))

    def f1(self, documents: Sequence[Document]) -> float:
        """The mean word F1 over those whose text is known; 0 where none is."""
        scores = [
            word_f1(text or "", one.text or "") for text, one in zip(self.texts, documents, strict=True) if one.text
        ]
        return sum(scores) / len(scores) if scores else 0.0


def measure(scale: Scale) -> list[Row]:
    collection = collected()
    documents, pages = _text_pdfs(collection, scale)
    cpu = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = {name: stack.enter_context(peers.running(name, cpu, Path(folder))) for name in (OURS, *PEERS)}
        readers = {name: _first(process, documents) for name, process in running.items()}
        for number in range(scale.rounds):
            for name in _turned(list(running), number):
                readers[name].add_round(running[name], pages)
    return [*rows(readers, documents, pages, collection.origin), _docling(documents, pages, cpu)]


def rows(readers: Mapping[str, Reader], documents: Sequence[Document], pages: int, origin: str) -> list[Row]:
    ours = readers[OURS]
    rate, known = median(ours.rates), sum(one.text is not None for one in documents)
    shape = f"{pages} pages of {len(documents)} PDFs with text, {origin}; one core; {len(ours.rates)} rounds in turns"
    found = [
        told("speed: pages a second on one core", rate, "1/s", note=f"{shape}; by the pool, in a process apart; {spread(ours.rates)}")
    ]  # fmt: skip
    for name in PEERS:
        theirs, by_round = (
            readers[name],
            [one / other for one, other in zip(ours.rates, readers[name].rates, strict=True)],
        )
        by_cpu = median(ours.cpu_rates) / median(theirs.cpu_rates)
        found.append(at_least(f"speed: times {name}", rate / median(theirs.rates), TIMES[name], "x", baseline=median(theirs.rates),
                              note=f"baseline in 1/s; of the rounds {spread(by_round)}; by CPU-seconds {by_cpu:.3g} x; {theirs.texts.count(None)} "
                              "documents that it could not read"))  # fmt: skip
    best = max(PEERS, key=lambda name: readers[name].f1(documents))
    note = ", ".join(f"{name} {one.f1(documents):.3f}" for name, one in readers.items())
    found.append(at_least("speed: word F1, less the better peer's", ours.f1(documents) - readers[best].f1(documents), -NEAR, "",
                          note=f"{note}, mean of {known} documents whose text is known"))  # fmt: skip
    return found


def _docling(documents: Sequence[Document], pages: int, cpu: int) -> Row:
    """Docling's pages a second in one round after its first, or why that was not measured."""
    name = "speed: pages a second on one core, docling"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with peers.running("docling", cpu, Path(folder)) as process:
                try:
                    found = _first(process, documents[:1])
                except RuntimeError:
                    return told(f"{name}: NOT measured", 0, "1/s", note=f"it does not start: {peers.why_not(process)}")
                if found.texts == [None]:
                    return told(
                        f"{name}: NOT measured", 0, "1/s", note=f"it does not work offline: {peers.why_not(process)}"
                    )
        except subprocess.CalledProcessError as error:
            return told(
                f"{name}: NOT measured",
                0,
                "1/s",
                note=f"it cannot be installed here: pip ended with {error.returncode}",
            )
        with peers.running("docling", cpu, Path(folder)) as process:
            reader = _first(process, documents)
            reader.add_round(process, pages)
            return told(
                name, reader.rates[0], "1/s", note=f"word F1 {reader.f1(documents):.3f}; the expected texts are its own"
            )


def _first(process: Process, documents: Sequence[Document]) -> Reader:
    """A reader that has read everything once: libraries and models are loaded."""
    process.say(json.dumps({"paths": [str(one.path) for one in documents]}))
    return Reader(process.hear()["texts"])


def _text_pdfs(collection: Collection, scale: Scale) -> tuple[list[Document], int]:
    """PDFs all of whose pages have a text layer, and how many pages they have."""
    pdfs = [one for one in collection.good if one.path.suffix.lower() == ".pdf" and not one.is_scan]
    at_once = os.cpu_count() or 1
    with Pool(children=at_once) as pool:
        found, _ = read_all(pool, pdfs, at_once)
    texts = [one for one in found if one.reading and all(page.source == "text" for page in one.reading.pages)]
    texts.sort(key=lambda one: one.document.text is None)
    texts = texts[:4] if scale.quick else texts
    return [one.document for one in texts], sum(one.pages for one in texts)


def _turned(names: Sequence[str], by: int) -> list[str]:
    at = by % len(names)
    return [*names[at:], *names[:at]]
