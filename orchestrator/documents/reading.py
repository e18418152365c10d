"""What a reader gives of one document: pages of blocks in reading order, each with its place, so that an answer can cite it. Pure.

A leaf of this room: readers run in a process of their own, and only plain JSON comes out of it (`to_json`, `from_json`), checked as
anything from outside is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "picture", "note"]
Source = Literal["text", "ocr", "none"]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the page, from its upper left corner; 0 to 1, whatever its size or rotation."""

Refusal = Literal[
    "empty_file", "file_too_large", "missing_extra", "password_required", "text_too_long", "too_many_pages", "unreadable_file",
    "unsupported_file",
]  # fmt: skip
"""Why a document cannot be read; stable, for programs."""


class Unreadable(Exception):
    """A document that cannot be read: a stable code, and a sentence with the cause and the remedy."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may take. A reader refuses what is over a limit before it does the work, wherever that can be known."""

    max_bytes: int = 64 * 1024 * 1024
    max_pages: int = 2_000
    max_chars: int = 20_000_000
    """Of all its text."""
    max_pixels: int = 40_000_000
    """Of one picture or page, before it is decoded."""
    max_unpacked_bytes: int = 256 * 1024 * 1024
    """Of what lies compressed in it, all together."""
    max_parts: int = 1_000
    """Files in a container such as DOCX, and attachments of a mail, those in attachments included."""
    max_depth: int = 3
    """Attachments within attachments."""
    timeout_s: float = 20.0
    password: str | None = None
    scans: bool = True
    """Whether scanned pages of a PDF are read within this call; otherwise they are left as `none`, for a call of their own."""
    render_px: int = 1_600
    """The long side of a page that is drawn."""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a page that belongs together, as Markdown: a paragraph, a whole list, a whole table."""

    text: str
    kind: BlockKind = "paragraph"
    level: int = 0
    """Of a heading, 1 to 6; its `#` marks stand in its text as well."""
    box: Box | None = None
    """Where it stands on its page; None where the kind of document has no places."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was measured of a page that has no text layer to go by, or a poor one."""

    pixels: int
    skew_deg: float
    """How far its lines are turned, in degrees; 0 where that could not be told."""
    rotation: int = 0
    """By how many quarter turns it was turned to stand upright, in degrees."""
    ink: float = 0.0
    """The share of dark pixels: near 0 it is blank, and high where there are pictures."""
    confidence: float = 0.0
    """How sure the reader was of its words, by their characters: 0 to 1."""
    engine: str = ""
    """Which reader of scans was taken."""
    pictures: float = 0.0
    """The share of the page that pictures or charts take, as far as that could be told."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page; of a document without pages there is one, of a workbook one a sheet, of slides one a slide, of a mail one a part."""

    number: int
    """From 1."""
    blocks: tuple[Block, ...] = ()
    source: Source = "text"
    """`text` where it came from the file, `ocr` where it was read from a picture, `none` where a page must be looked at."""
    name: str = ""
    """Of a sheet, or of an attachment."""
    scan: Scan | None = None

    @property
    def text(self) -> str:
        """Its Markdown."""
        return "\n\n".join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as it was read."""

    kind: str
    """Such as `pdf` or `docx`: see `kinds.KINDS`."""
    pages: tuple[Page, ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    """What the caller should know: what was left out, and why."""

    @property
    def text(self) -> str:
        """Its Markdown, page after page."""
        return "\n\n".join(text for page in self.pages if (text := page.text))


class Reader(Protocol):
    """Reads one kind of document. Runs in a process of its own, without network; whatever it raises costs this one document."""

    def __call__(self, data: bytes, limits: Limits, within: Inner) -> Reading:
        """The reading; raises Unreadable with the cause and the remedy."""
        ...


class Inner(Protocol):
    """How a reader has what lies in its document read, such as an attachment."""

    def __call__(self, data: bytes, name: str) -> Reading:
        """The reading of a part, by its content; raises Unreadable, for one that is nested too deep or one too many as well."""
        ...


_KINDS: Final = frozenset(get_args(BlockKind))
_SOURCES: Final = frozenset(get_args(Source))
MOST_BLOCKS: Final = 500_000


def to_json(reading: Reading) -> dict[str, Any]:
    """A reading as plain JSON."""
    return {
        "kind": reading.kind,
        "title": reading.title,
        "notes": list(reading.notes),
        "pages": [
            {
                "number": page.number,
                "source": page.source,
                "name": page.name,
                "blocks": [[block.text, block.kind, block.level, block.box] for block in page.blocks],
                "scan": None
                if page.scan is None
                else [
                    page.scan.pixels, page.scan.skew_deg, page.scan.rotation, page.scan.ink, page.scan.confidence, page.scan.engine,
                    page.scan.pictures,
                ],
            }
            for page in reading.pages
        ],
    }  # fmt: skip


def from_json(told: object) -> Reading:
    """A reading from what a reader's process told; raises ValueError where that has not the form agreed: it may have been taken over."""
    try:
        given: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
        pages = given["pages"]
        if not isinstance(pages, list) or sum(len(page["blocks"]) for page in pages) > MOST_BLOCKS:
            raise ValueError("pages")
        return Reading(
            kind=_text(given["kind"], 32),
            pages=tuple(map(_page, pages)),
            title=_text(given.get("title", ""), 2_000),
            notes=tuple(_text(note, 2_000) for note in given.get("notes", ())),
        )
    except (KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not a reading: {type(error).__name__}") from None


def _page(given: Mapping[str, Any]) -> Page:
    source = given["source"]
    if source not in _SOURCES:
        raise ValueError("source")
    return Page(
        number=int(given["number"]),
        blocks=tuple(map(_block, given["blocks"])),
        source=source,
        name=_text(given.get("name", ""), 2_000),
        scan=None if given.get("scan") is None else _scan(given["scan"]),
    )


def _block(given: Sequence[Any]) -> Block:
    text, kind, level, box = given
    if kind not in _KINDS:
        raise ValueError("block")
    return Block(_text(text), kind, int(level), None if box is None else _box(box))


def _box(given: Sequence[Any]) -> Box:
    left, top, right, bottom = (min(max(_finite(one), 0.0), 1.0) for one in given)
    return (left, top, right, bottom)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("number")
    return number


def _scan(given: Sequence[Any]) -> Scan:
    pixels, skew, rotation, ink, confidence, engine, pictures = given
    return Scan(
        int(pixels), float(skew), int(rotation), float(ink), float(confidence), _text(engine, 64), float(pictures)
    )


def _text(value: object, most: int | None = None) -> str:
    """A text that can be stored: of valid Unicode, and without NUL."""
    if not isinstance(value, str) or (most is not None and len(value) > most):
        raise ValueError("text")
    return value.encode("utf-8", "replace").decode().replace("\0", "")
