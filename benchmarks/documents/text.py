"""How much of the text of documents is read, against the text that each is known to have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.documents.collection import collected
from benchmarks.documents.reads import Read, read_all
from benchmarks.documents.words import word_f1
from benchmarks.report import Row, Scale, at_least, median, told
from orchestrator.documents.apart.pool import Pool

MEAN: Final = 0.95
WORST: Final = 0.80


def measure(_: Scale) -> list[Row]:
    collection = collected()
    at_once = os.cpu_count() or 1
    with Pool(children=at_once) as pool:
        found, _seconds = read_all(pool, collection.texts(), at_once)
    return rows({one.document.name: score(one) for one in found}, found, collection.origin)


def score(one: Read) -> float:
    """The word F1 of one document."""
    return word_f1(one.text, one.document.text or "")


def rows(scores: Mapping[str, float], found: Sequence[Read], origin: str) -> list[Row]:
    worst = sorted(scores, key=lambda name: scores[name])
    refused = [f"{one.document.name}: {one.error.code}" for one in found if one.error]
    shape = f"{len(scores)} documents with expected text, {origin}; words in small letters without punctuation and Markdown's marks"
    return [
        at_least("text: word F1, mean", sum(scores.values()) / len(scores), MEAN, "", note=shape),
        at_least("text: word F1, worst", scores[worst[0]], WORST, "",
                 note="; ".join([", ".join(f"{name} {scores[name]:.3f}" for name in worst[:4]), *refused])),
        told("text: word F1, median", median(list(scores.values())), ""),
    ]  # fmt: skip
