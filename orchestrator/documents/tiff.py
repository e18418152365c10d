"""How many pages a TIFF has, by the chain of its directories alone: nothing of it is decoded. Pure but for reading the stream."""

from __future__ import annotations

from typing import BinaryIO, Final, Literal

from orchestrator.documents.reading import Unreadable

_ENTRY_BYTES: Final = 12
_BIG_ENTRY_BYTES: Final = 20


def count_pages(stream: BinaryIO, most: int) -> int:
    """The number of pages; raises Unreadable for more than `most`, and for what is no TIFF or has none.

    After "TIFF Revision 6.0", section 2, and the BigTIFF design, whose offsets and counts are longer.
    """
    head = _read(stream, 0, 8)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    is_big = int.from_bytes(head[2:4], order) == 43
    count_bytes, entry_bytes, place_bytes = (8, _BIG_ENTRY_BYTES, 8) if is_big else (2, _ENTRY_BYTES, 4)
    place = int.from_bytes(_read(stream, 8, 8) if is_big else head[4:], order)
    pages = 0
    while place:
        pages += 1
        if pages > most:  # a chain that comes back to itself ends here as well
            raise Unreadable("too_many_pages", f"The TIFF has more than {most:,} pages. Split it.")
        entries = int.from_bytes(_read(stream, place, count_bytes), order)
        place = int.from_bytes(_read(stream, place + count_bytes + entry_bytes * entries, place_bytes), order)
    if not pages:
        raise _broken()
    return pages


def _read(stream: BinaryIO, place: int, count: int) -> bytes:
    try:
        stream.seek(place)
        data = stream.read(count)
    except (OSError, OverflowError, ValueError):
        raise _broken() from None
    if len(data) < count:
        raise _broken()
    return data


def _broken() -> Unreadable:
    return Unreadable("unreadable_file", "The TIFF is broken: it ends early. Save it anew as PNG or PDF.")
