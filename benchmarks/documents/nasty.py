"""Files that are broken, hostile or locked, read among good ones by the same readers: each gives text or one clear error, and nobody suffers."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.documents import broken
from benchmarks.documents.collection import Document, collected
from benchmarks.documents.reads import Memory, Read, read_all
from benchmarks.report import FOLDER, Row, Scale, at_most, told
from orchestrator.documents.apart.pool import Pool
from orchestrator.documents.choice import Policy, choose
from orchestrator.documents.reading import Reading

SECONDS: Final = 20.0
MEMORY_MB: Final = 1_074.0
"""A gibibyte."""
GOOD: Final = 12
"""Good documents that are read among them, in turns."""
SEED: Final = 3


def measure(_: Scale) -> list[Row]:
    collection = collected()
    given = () if collection.is_made else collection.nasty
    nasty = [*given, *_made(FOLDER / "documents-nasty")]
    good = [one for one in collection.good if not one.is_scan and one.path.stat().st_size < 10**6][:GOOD]
    at_once = max(2, os.cpu_count() or 1)
    with Pool(children=at_once) as pool:
        before = {one.document.name: one.text for one in read_all(pool, good, at_once)[0]}
        with Memory(pool) as memory:
            found, _seconds = read_all(pool, _mixed(nasty, good), at_once)
    names = {one.name for one in nasty}
    hurt = [one for one in found if one.document.name not in names and one.text != before[one.document.name]]
    own = f"{len(given)} of DOCUMENTS and {len(nasty) - len(given)} of our own making"
    return rows([one for one in found if one.document.name in names], hurt, memory.most_bytes, own)


def rows(found: Sequence[Read], hurt: Sequence[Read], most_bytes: int, origin: str) -> list[Row]:
    kinds = [outcome(one) for one in found]
    unclear = [one.document.name for one, kind in zip(found, kinds, strict=True) if kind == "unclear"]
    slowest = max(found, key=lambda one: one.seconds)
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("text", "error", "picture"))
    return [
        at_most("nasty: neither text nor one clear error", len(unclear), 0, "",
                note=f"{len(found)} files, {origin}: {counts}. {', '.join(unclear)}".rstrip(". ")),
        at_most("nasty: the slowest", slowest.seconds, SECONDS, "s", note=slowest.document.name),
        at_most("nasty: memory of a reader at its highest point", most_bytes / 1e6, MEMORY_MB, "MB", note="1 GiB"),
        at_most("nasty: good documents that suffered from a neighbour", len(hurt), 0, "",
                note=", ".join(f"{one.document.name}: {one.error or 'another text'}" for one in hurt)),
        told("nasty: refused", kinds.count("error"), "", note=_refusals(found)),
    ]  # fmt: skip


def outcome(one: Read) -> str:
    """`text`, `error` (a sentence with cause and remedy), `picture` where nothing of it is text and it must be looked at, or `unclear`."""
    if one.error is not None:
        sentences = one.error.message.rstrip().rstrip(".").split(". ")
        return "error" if len(sentences) > 1 or ":" in one.error.message else "unclear"
    if one.text.strip():
        return "text"
    return "picture" if one.reading is not None and _is_looked_at(one.reading) else "unclear"


def _is_looked_at(reading: Reading) -> bool:
    return bool(reading.pages) and all(choose(page, Policy()).look or not page.blocks for page in reading.pages)


def _made(folder: Path) -> list[Document]:
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, data in broken.files().items():
        (folder / name).write_bytes(data)
        found.append(Document(f"made/{name}", folder / name))
    return found


def _mixed(nasty: Sequence[Document], good: Sequence[Document]) -> list[Document]:
    """The nasty ones in a random order, and a good one after each."""
    order = random.Random(SEED).sample(list(nasty), len(nasty))
    return [one for number, bad in enumerate(order) for one in (bad, good[number % len(good)])]


def _refusals(found: Sequence[Read]) -> str:
    codes = sorted({one.error.code for one in found if one.error})
    return "; ".join(f"{code} {sum(one.error is not None and one.error.code == code for one in found)}" for code in codes)  # fmt: skip
