"""The documents of a run: those of the folder that DOCUMENTS names, or some of our own making in the same form.

Such a folder holds MANIFEST.csv with a line for each file: `file`, its path there; `kind`, which is good, nasty or expected; `expected`,
the paths of what it should give, with semicolons between them; and `note`, in which a scan is called one. What is expected is a text
(.md, .txt), the values of fields (.json), or lines with boxes (.box.csv, the text behind eight numbers).
"""

from __future__ import annotations

import csv
import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.documents import made
from benchmarks.report import FOLDER

VARIABLE: Final = "DOCUMENTS"
MANIFEST: Final = "MANIFEST.csv"
PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff"})
_SCAN: Final = re.compile(r"\bscan", re.IGNORECASE)
_NUMBERS: Final = 8
"""Coordinates before the text of a line with a box."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document, and what it should give."""

    name: str
    path: Path
    expected: tuple[Path, ...] = ()
    note: str = ""

    @property
    def group(self) -> str:
        """The folder that it lies in."""
        return self.path.parent.name

    @property
    def is_picture(self) -> bool:
        return self.path.suffix.lower() in PICTURES

    @property
    def is_scan(self) -> bool:
        """Whether its text can only be seen."""
        return self.is_picture or (self.path.suffix.lower() == ".pdf" and bool(_SCAN.search(self.note)))

    @property
    def text(self) -> str | None:
        """The text that it should give; None where that is not known."""
        for path in self.expected:
            if path.name.endswith(".box.csv"):
                return "\n".join(_boxed(path))
            if path.suffix in (".md", ".txt"):
                return path.read_text("utf-8-sig")
        return None

    @property
    def fields(self) -> Any:
        """The values of fields that it should give; None where they are not known."""
        path = next((path for path in self.expected if path.suffix == ".json"), None)
        return None if path is None else json.loads(path.read_text("utf-8-sig"))


@dataclass(frozen=True, slots=True)
class Collection:
    """The documents of a run."""

    good: Sequence[Document]
    nasty: Sequence[Document]
    is_made: bool

    @property
    def origin(self) -> str:
        """Where they are from, for a note."""
        return "documents of our own making: give others with DOCUMENTS=DIR" if self.is_made else "those of DOCUMENTS"

    def texts(self) -> list[Document]:
        """Documents with a text layer, whose text is known."""
        return [one for one in self.good if not one.is_scan and one.text is not None]

    def scans(self) -> list[Document]:
        """Documents whose text can only be seen, and is known."""
        return [one for one in self.good if one.is_scan and one.text is not None]


@functools.cache
def collected() -> Collection:
    """The documents that DOCUMENTS names; where it names none, some are made, once a run."""
    given = os.environ.get(VARIABLE)
    folder = Path(given) if given else made.collection(FOLDER / "documents-made")
    if not (folder / MANIFEST).is_file():
        raise SystemExit(f"{folder} has no {MANIFEST}. Give a folder of documents with one, or none: DOCUMENTS=")
    found = list(_read(folder))
    return Collection(
        [one for kind, one in found if kind == "good"], [one for kind, one in found if kind == "nasty"], not given
    )


def _read(folder: Path) -> Iterator[tuple[str, Document]]:
    with (folder / MANIFEST).open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            expected = tuple(folder / one.strip() for one in (row.get("expected") or "").split(";") if one.strip())
            yield row["kind"], Document(row["file"], folder / row["file"], expected, row.get("note") or "")


def _boxed(path: Path) -> Iterator[str]:
    for line in path.read_text("utf-8-sig").splitlines():
        parts = line.split(",", _NUMBERS)
        if len(parts) > _NUMBERS:
            yield parts[_NUMBERS]
