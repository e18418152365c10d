"""HTML: what a person would read of a page, in its order. Nothing outside it is ever fetched.

What stays: all text of the page, navigation and forms among it, since a tag does not tell whether its text matters; the targets of links;
the words for pictures, as notes. What goes: scripts, styles, and what the page itself hides, which is told in a note.
"""

from __future__ import annotations

import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser

from orchestrator.documents.readers.encoding import text_of
from orchestrator.documents.readers.html_depth import flattened
from orchestrator.documents.readers.html_walk import Walk
from orchestrator.documents.readers.writing import Writer, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading

HEAD_BYTES: Final = 4096
"""In which a page names its encoding."""

_CHARSET: Final = re.compile(
    rb"<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE
)


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The text of a page as Markdown."""
    del within
    named = named_encoding(data)
    found = text_of(data, named)
    writer = Writer(limits)
    if found.lossy or (found.note and not named):
        writer.tell(found.note)
    title = write(found.text, writer)
    return Reading("html", (Page(1, writer.cut()),), title=title, notes=tuple(writer.notes))


def named_encoding(data: bytes) -> str:
    """The encoding that a page names in its head; empty where it names none."""
    named = _CHARSET.search(data[:HEAD_BYTES])
    return named[1].decode("ascii", "replace") if named else ""


def write(text: str, writer: Writer) -> str:
    """Write the blocks of a page; returns its title."""
    bounded, cut = flattened(text)
    if cut:
        writer.tell("Its elements are nested so deep that some of its structure was left out; its text is whole.")
    parser = LexborHTMLParser(bounded)
    if parser.root is None:
        return ""
    walk = Walk()
    walk.through(parser.root)
    walk.flow.write(writer)
    if walk.hidden:
        writer.tell(f"What the page itself hides was left out: {walk.hidden} of its elements.")
    return title_of(walk.title)
