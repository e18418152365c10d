"""Small plain texts, read in this very process: to have another one read them takes longer than to read them.

By the same readers, of those that are plain Python and need no library. Whatever is not small, plain UTF-8 is left to `pool.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.documents.kinds import kind_of
from orchestrator.documents.readers import json, markdown, text
from orchestrator.documents.reading import Limits, Reader, Reading, Unreadable

SMALL_BYTES: Final = 64 * 1024
"""Nothing of this size keeps one of these readers for longer than a tenth of a second."""
_READERS: Final[Mapping[str, Reader]] = {
    "text": text.read,
    "markdown": markdown.read,
    "json": json.read,
    "jsonl": json.read,
}


def read_small(data: bytes, name: str, limits: Limits) -> Reading | None:
    """What is in a document; None for one that the pool must read. Raises Unreadable."""
    if len(data) > SMALL_BYTES or b"\0" in data or not _is_utf8(data):
        return None
    try:
        read = _READERS.get(kind_of(data, name))
        return None if read is None else read(data, limits, _nothing_within)
    except (ArithmeticError, LookupError, ValueError, RecursionError):  # a process apart finds out, and tells
        return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _nothing_within(data: bytes, name: str) -> Reading:
    del data, name
    raise Unreadable("unsupported_file", "Nothing lies in a plain text. Submit the file apart.")
