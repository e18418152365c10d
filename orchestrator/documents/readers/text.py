"""Plain text, in whatever encoding: its paragraphs as they are."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.documents.readers.encoding import text_of
from orchestrator.documents.readers.writing import Writer, clean
from orchestrator.documents.reading import Inner, Limits, Page, Reading

_BLANK: Final = re.compile(r"\n(?:[ \t]*\n)+")


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The paragraphs of a text; those of a text stay as they were typed, and are not escaped. Nothing lies within it."""
    del within
    found = text_of(data)
    writer = Writer(limits)
    if found.note:
        writer.tell(found.note)
    for paragraph in _BLANK.split(clean(found.text)):
        writer.add(paragraph.strip("\n").rstrip())
    return Reading("text", (Page(1, writer.cut()),), notes=tuple(writer.notes))
