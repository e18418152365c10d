"""Documents as the rows of a batch: hashed first, read only where no result is there, several at a time, in their order."""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final, Protocol

import orjson

from orchestrator.documents.choice import Chosen, Policy, choose
from orchestrator.documents.inputs import Input, Known, hash_of, hashed
from orchestrator.documents.lines import Unfit, clean_id, error_line
from orchestrator.documents.readers.sound import NAMES
from orchestrator.documents.reading import Limits, Page, Reading, Unreadable

WINDOW: Final = 500
"""Documents that are asked about at once."""
WINDOW_BYTES: Final = 256 * 1024 * 1024
"""Of those, and of those that wait for a reader: what was in an archive or far away lies on the disk as a copy until then."""
AHEAD: Final = 4
"""Documents that are read ahead for each process that reads."""
HASHED_AHEAD: Final = 2
"""Documents that are being hashed for each of them, and fetched for that where they are far away."""
SCAN_S: Final = 60.0
"""What one scanned page or picture may take."""
SCAN_PX: Final = 2_400
"""The long side of a page whose picture is read: about 200 dots an inch of a usual one."""
PICTURES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
"""How the files of pictures begin; a sound that does so as well may take its time, too."""
DRAWN: Final = frozenset({"pdf", "png", "jpeg", "webp", "tiff", "gif"})
"""Kinds whose pages can be drawn."""
MAX_ROW_BYTES: Final = 32 * 1024 * 1024
MOST_PICTURES: Final = 100


class Reads(Protocol):
    """What reads documents: `pool.Pool`."""

    def read(self, stream: BinaryIO, name: str, limits: Limits) -> Reading:
        """A document's reading; raises Unreadable."""
        ...

    def render(self, stream: BinaryIO, pages: Sequence[int], limits: Limits) -> list[bytes]:
        """Pages as JPEGs; raises Unreadable."""
        ...


@dataclass(slots=True)
class Counts:
    """What became of the documents so far."""

    found: int = 0
    reused: int = 0
    read: int = 0
    refused: int = 0
    pages: int = 0
    looked_at: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A document as its row carries it."""

    document: bytes
    reused: bool = False
    kind: str | None = None
    pages: int = 0
    looked_at: int = 0


@dataclass(slots=True)
class Documents:
    """Makes the rows. `ask` tells which hashes have a result already; `note` gets a line of the manifest for each input."""

    pool: Reads
    at_once: int
    """Documents that are read at the same time."""
    ask: Callable[[Sequence[str]], Set[str]]
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)
    note: Callable[[dict[str, Any]], None] = lambda _: None
    counts: Counts = field(default_factory=Counts)
    _seen: dict[int, int] = field(default_factory=dict)
    """By hash of an id: how often it came. A million of them fit into memory."""

    def lines(self, inputs: Iterable[Input]) -> Iterator[bytes]:
        """A line for each input, in their order: a document's row, or why there is none."""
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="rightsize-read") as threads:
            waiting: deque[tuple[Known, Future[Made | Unfit]]] = deque()
            try:
                for window in self._windows(inputs, threads):
                    answered = self.ask([one.hash for one in window if one.unfit is None])
                    for one in window:
                        waiting.append((one, threads.submit(self._row, one, one.hash in answered)))
                        while self._is_enough(waiting):
                            yield self._line(*waiting.popleft())
                while waiting:
                    yield self._line(*waiting.popleft())
            finally:
                for _, future in waiting:  # copies that are left go with their folder
                    future.cancel()

    def _windows(self, inputs: Iterable[Input], threads: ThreadPoolExecutor) -> Iterator[list[Known]]:
        """The inputs with their hashes, as many at once as are asked about: a window ends where its bytes are many, too."""
        hashing: deque[Future[Known]] = deque()
        window: list[Known] = []
        for one in inputs:
            hashing.append(threads.submit(hashed, one, self.limits.max_bytes))
            if len(hashing) > HASHED_AHEAD * self.at_once:
                window.append(hashing.popleft().result())
            if len(window) + len(hashing) >= WINDOW or _bytes(window) > WINDOW_BYTES:
                yield window + [future.result() for future in hashing]
                hashing.clear()
                window = []
        if window or hashing:
            yield window + [future.result() for future in hashing]

    def _is_enough(self, waiting: Sequence[tuple[Known, object]]) -> bool:
        """Whether no more is to wait for a reader: each has something to do, and what waits is a lot."""
        if len(waiting) > AHEAD * self.at_once:
            return True
        return len(waiting) > self.at_once and _bytes([one for one, _ in waiting]) > WINDOW_BYTES

    def _row(self, one: Known, answered: bool) -> Made | Unfit:
        """The document of a row; runs on a thread. Its copy, where it has one, is not needed any more then."""
        try:
            return self._made(one, answered)
        finally:
            one.input.done()

    def _made(self, one: Known, answered: bool) -> Made | Unfit:
        if one.unfit is not None:
            return one.unfit
        about: dict[str, Any] = {"name": clean_id(one.input.name), "hash": one.hash, "bytes": one.bytes}
        if answered:
            return Made(orjson.dumps(about | {"kind": "unread"}), reused=True)
        try:
            with one.input.open() as stream:
                reading = self.reading_of(stream, one.input.name)
                told, looked_at = self._told(reading, stream)
                stream.seek(0)
                if (
                    hash_of(stream, self.limits.max_bytes)[0] != one.hash
                ):  # its answer would be found under another's name
                    raise Unfit("unreadable_file", "The file changed while it was read. Submit it again.")
        except Unreadable as error:
            return Unfit(error.code, error.message)
        except Unfit as unfit:
            return unfit
        return Made(orjson.dumps(about | told), kind=reading.kind, pages=len(reading.pages), looked_at=looked_at)

    def reading_of(self, stream: BinaryIO, name: str) -> Reading:
        """A document's reading; each scanned page of a PDF in a call of its own, so that none costs the others."""
        head = stream.read(16)
        stream.seek(0)
        limits = replace(
            self.limits, scans=False, timeout_s=SCAN_S if head.startswith(PICTURES) else self.limits.timeout_s
        )
        reading = self.pool.read(stream, name, limits)
        if reading.kind != "pdf":
            return reading
        return replace(
            reading,
            pages=tuple(self._scanned(stream, page) if page.source == "none" else page for page in reading.pages),
        )

    def _scanned(self, stream: BinaryIO, page: Page) -> Page:
        """A page that has no text layer, read from its picture; as it is where that does not work."""
        try:
            stream.seek(0)
            (picture,) = self.pool.render(stream, [page.number], replace(self.limits, render_px=SCAN_PX))
            seen = self.pool.read(io.BytesIO(picture), "page.jpg", replace(self.limits, timeout_s=SCAN_S)).pages[0]
        except Unreadable:
            return page
        return replace(seen, number=page.number, name=page.name, blocks=seen.blocks + page.blocks)

    def _told(self, reading: Reading, stream: BinaryIO) -> tuple[dict[str, Any], int]:
        """What was read, page by page, with pictures of the pages that must be looked at; and how many those are."""
        if reading.kind in NAMES:
            return _heard(reading, stream), 0
        pages: list[dict[str, Any]] = []
        blocks: list[list[Any]] = []
        looked_at: list[int] = []
        for page in reading.pages:
            chosen = _chosen(reading, page, self.policy)
            if chosen.look:
                looked_at.append(page.number)
            else:
                blocks += ([page.number, block.text, block.kind, block.level, block.box] for block in page.blocks)
            pages.append(
                {
                    "number": page.number, "source": "none" if chosen.look else page.source, "name": page.name,
                    "confidence": page.scan.confidence if page.scan else None, "why": chosen.why, "chars": len(page.text),
                }
            )  # fmt: skip
        if len(looked_at) > MOST_PICTURES:
            raise Unfit(
                "too_many_pages",
                f"{len(looked_at)} of its pages must be looked at, at most {MOST_PICTURES} can be. Split it.",
            )
        stream.seek(0)
        pictures = self.pool.render(stream, looked_at, self.limits) if looked_at else []
        urls = [
            [page, f"data:image/jpeg;base64,{base64.b64encode(one).decode()}"]
            for page, one in zip(looked_at, pictures, strict=True)
        ]
        told = {"kind": reading.kind, "pages": pages, "blocks": blocks, "pictures": urls, "notes": list(reading.notes)}
        return told, len(looked_at)

    def _line(self, one: Known, future: Future[Made | Unfit]) -> bytes:
        found = future.result()
        custom_id = self._unique(clean_id(one.input.name))
        if isinstance(found, Made) and len(found.document) > MAX_ROW_BYTES:
            size = len(found.document)
            found = Unfit(
                "row_too_large", f"What was read of it has {size:,} bytes, at most {MAX_ROW_BYTES:,}. Split it."
            )
        self._count(one, found)
        about: dict[str, Any] = {
            "custom_id": custom_id,
            "name": clean_id(one.input.name),
            "hash": one.hash,
            "bytes": one.bytes,
        }
        if isinstance(found, Unfit):
            self.note(about | {"error": found.row_code})
            return error_line(custom_id, found)
        self.note(
            about | {"kind": found.kind, "pages": found.pages, "looked_at": found.looked_at, "reused": found.reused}
        )
        head = orjson.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"})
        return head[:-1] + b',"body":{"model":"auto","document":' + found.document + b"}}"

    def _count(self, one: Known, found: Made | Unfit) -> None:
        counts = self.counts
        counts.found += 1
        counts.bytes += one.bytes
        if isinstance(found, Unfit):
            counts.refused += 1
            return
        counts.reused += found.reused
        counts.read += not found.reused
        counts.pages += found.pages
        counts.looked_at += found.looked_at

    def _unique(self, name: str) -> str:
        """A custom_id of its own: the name, and a count where it is taken."""
        custom_id, count = name, self._seen.get(hash(name), 0)
        while hash(custom_id) in self._seen:
            count += 1
            custom_id = clean_id(f"{name}~{count + 1}")
        self._seen[hash(name)] = count  # the next of them goes on from here
        self._seen.setdefault(hash(custom_id), 0)
        return custom_id


def _chosen(reading: Reading, page: Page, policy: Policy) -> Chosen:
    """How a page goes to a model: what lies in another file, such as a scan in a mail, has no picture that could be shown."""
    chosen = choose(page, policy)
    if chosen.look and (reading.kind not in DRAWN or page.name):
        return Chosen(False, f"{chosen.why}; but what lies in another file cannot be shown")
    return chosen


def _heard(reading: Reading, stream: BinaryIO) -> dict[str, Any]:
    """A sound as a model hears it: the whole file."""
    stream.seek(0)
    told = {"number": 1, "source": "none", "name": "", "confidence": None, "why": "it is to be heard", "chars": 0}
    sounds = [{"data": base64.b64encode(stream.read()).decode(), "format": reading.kind}]
    return {"kind": reading.kind, "pages": [told], "blocks": [], "sounds": sounds, "notes": list(reading.notes)}


def _bytes(known: Iterable[Known]) -> int:
    return sum(one.bytes for one in known)
