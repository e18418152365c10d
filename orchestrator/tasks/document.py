"""A document as a row of a batch carries it: what it is, what was read of it with places, and the pages that need eyes or ears. Pure.

What stands in it comes from outside: every part is bounded and checked here, once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.errors import InvalidRequest
from orchestrator.hints import is_number
from orchestrator.tasks.measure import size_of

HASH: Final = re.compile(r"[0-9a-f]{64}")
MOST_BLOCKS: Final = 200_000
MOST_PAGES: Final = 100_000
MOST_LOOKED_AT: Final = 100
"""Pages as pictures in one row."""
MAX_NAME: Final = 1_024
MAX_WHY: Final = 300
KNOWN: Final = frozenset({"name", "hash", "kind", "bytes", "pages", "blocks", "pictures", "sounds", "notes"})
SOURCES: Final = ("text", "ocr", "none")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of text, its page and its place on it."""

    page: int
    text: str
    kind: str
    level: int
    box: Box | None


@dataclass(frozen=True, slots=True)
class PageRead:
    """How a page was read."""

    number: int
    source: str
    name: str = ""
    confidence: float | None = None
    """Of a page that was read from a picture."""
    why: str = ""
    """Why it goes to a model as it does."""
    chars: int = 0
    """Of its text, also where that was not sure enough to be sent."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document: `pages` is None for one that was not read, since its result may be there already."""

    name: str
    hash: str
    """SHA-256 of its bytes, 64 hexadecimal digits."""
    kind: str
    bytes: int
    pages: tuple[PageRead, ...] | None = None
    blocks: tuple[Block, ...] = ()
    pictures: tuple[tuple[int, str], ...] = ()
    """Pages to look at: number, and a data URL."""
    sounds: tuple[Mapping[str, str], ...] = ()
    """What is to be heard, as `input_audio` has it."""
    notes: tuple[str, ...] = ()

    @property
    def chars(self) -> int:
        """Of its text."""
        return sum(len(block.text) for block in self.blocks)

    @property
    def size(self) -> int:
        """Of its text, as models have room for it."""
        return sum(size_of(block.text) for block in self.blocks)

    def told(self) -> dict[str, Any]:
        """What a result says of it."""
        sources = [page.source for page in self.pages or ()]
        return {
            "name": self.name, "hash": self.hash, "kind": self.kind, "bytes": self.bytes, "pages": len(sources), "chars": self.chars,
            "sources": {one: sources.count(one) for one in SOURCES if one in sources}, "notes": list(self.notes),
        }  # fmt: skip


def document_from(raw: object) -> Document:
    """A checked document from a row's body; raises InvalidRequest that names the field."""
    if not isinstance(raw, Mapping) or (unknown := raw.keys() - KNOWN):
        told = f"has unknown fields {sorted(unknown)[:5]}" if isinstance(raw, Mapping) else "must be an object"
        raise _wrong(f"`document` {told}. Known: {', '.join(sorted(KNOWN))}.")
    name, digest, kind, size = raw.get("name"), raw.get("hash"), raw.get("kind"), raw.get("bytes")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise _wrong(f"`document.name` must be text of 1 to {MAX_NAME:,} characters.")
    if not isinstance(digest, str) or not HASH.fullmatch(digest):
        raise _wrong("`document.hash` must be the SHA-256 of its bytes, 64 hexadecimal digits.")
    if not isinstance(kind, str) or not 0 < len(kind) <= 32:
        raise _wrong("`document.kind` must be text such as pdf.")
    if not isinstance(size, int) or not is_number(size, 0, 2**50):
        raise _wrong("`document.bytes` must be its size.")
    if raw.get("pages") is None:
        return Document(name, digest, kind, size)
    return Document(
        name, digest, kind, size,
        pages=tuple(map(_page, _listed(raw, "pages", MOST_PAGES))),
        blocks=tuple(map(_block, _listed(raw, "blocks", MOST_BLOCKS))),
        pictures=tuple(map(_picture, _listed(raw, "pictures", MOST_LOOKED_AT))),
        sounds=tuple(map(_sound, _listed(raw, "sounds", 20))),
        notes=tuple(str(note)[:2_000] for note in _listed(raw, "notes", 1_000)),
    )  # fmt: skip


def _listed(raw: Mapping[str, Any], field: str, most: int) -> Sequence[Any]:
    value = raw.get(field) or []
    if not isinstance(value, list) or len(value) > most:
        raise _wrong(f"`document.{field}` must be a list of at most {most:,}.")
    return value


def _page(given: Any) -> PageRead:
    if not isinstance(given, Mapping) or given.get("source") not in SOURCES or not isinstance(given.get("number"), int):
        raise _wrong(f"`document.pages` must be objects with `number`, and `source` of {', '.join(SOURCES)}.")
    sure: Any = given.get("confidence")
    chars: Any = given.get("chars")
    return PageRead(
        given["number"],
        given["source"],
        str(given.get("name") or "")[:MAX_NAME],
        float(sure) if is_number(sure, 0, 1) else None,
        str(given.get("why") or "")[:MAX_WHY],
        int(chars) if is_number(chars, 0, 10**9) else 0,
    )


def _block(given: Any) -> Block:
    if not isinstance(given, list) or len(given) != 5 or not isinstance(given[0], int) or not isinstance(given[1], str):
        raise _wrong("`document.blocks` must be lists of page, text, kind, level and box.")
    page, text, kind, level, box = given
    if box is not None and not (isinstance(box, list) and len(box) == 4 and all(is_number(one, 0, 1) for one in box)):
        raise _wrong("`document.blocks`: a box must be null, or four shares of the page between 0 and 1.")
    return Block(
        page,
        text,
        str(kind)[:32],
        level if isinstance(level, int) else 0,
        None if box is None else (box[0], box[1], box[2], box[3]),
    )


def _picture(given: Any) -> tuple[int, str]:
    if not isinstance(given, list) or len(given) != 2 or not isinstance(given[0], int) or not isinstance(given[1], str):
        raise _wrong("`document.pictures` must be lists of a page's number and a data URL.")
    return given[0], given[1]


def _sound(given: Any) -> Mapping[str, str]:
    if (
        not isinstance(given, Mapping)
        or not isinstance(given.get("data"), str)
        or not isinstance(given.get("format"), str)
    ):
        raise _wrong("`document.sounds` must be objects with `data` and `format`.")
    return {"data": given["data"], "format": given["format"]}


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="document")
