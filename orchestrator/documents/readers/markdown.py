"""Markdown: already in our form, cut into blocks at its own structure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from orchestrator.documents.readers.encoding import text_of
from orchestrator.documents.readers.writing import Writer, clean, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading

_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_CLOSING: Final = re.compile(r"(?:^|(?<=[ \t]))#+$")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FENCE: Final = re.compile(r" {0,3}(`{3,}+|~{3,}+)[^`]*$")
_ITEM: Final = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_RULE: Final = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_CELLS: Final = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$")
_META_TITLE: Final = re.compile(r"^title:(.*)$", re.MULTILINE)
_DATA_LINK: Final = re.compile(r"data:[\w/+.-]{1,60};base64,[A-Za-z0-9+/=%]{100,}")


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """The blocks of a Markdown file: headings, lists, tables, code and paragraphs. Pictures that are written into it are left out."""
    del within
    found = text_of(data)
    writer = Writer(limits)
    if found.note:
        writer.tell(found.note)
    text, pictures = _DATA_LINK.subn("data:", clean(found.text))
    if pictures:
        writer.tell(f"{pictures} pictures that are written into the text as base64 were left out.")
    title = _Blocks(text.split("\n"), writer).write()
    return Reading("markdown", (Page(1, writer.cut()),), title=title_of(title), notes=tuple(writer.notes))


class _Blocks:
    """Goes through the lines once; each step takes a whole block and returns the number of the line after it."""

    def __init__(self, lines: Sequence[str], writer: Writer) -> None:
        self._raw, self._writer = lines, writer
        self._lines = [line.expandtabs(4) if "\t" in line else line for line in lines]
        """By which the structure is told; what is written are the lines as they are."""
        self._title = ""

    def write(self) -> str:
        """Write all blocks; returns the document's title: that of its front matter, else its first heading of level 1."""
        here = self._front_matter()
        while here < len(self._lines):
            line = self._lines[here]
            if not line.strip() or _RULE.match(line):
                here += 1
            elif heading := _HEADING.match(line):
                words = line[heading.end() :].strip()
                self._heading(_CLOSING.sub("", words), len(heading[1]))
                here += 1
            elif fence := _FENCE.match(line):
                here = self._fence(here, fence[1])
            elif line.startswith("    "):
                here = self._indented(here)
            elif self._is_table(here):
                here = self._table(here)
            elif _ITEM.match(line):
                here = self._list(here)
            else:
                here = self._paragraph(here)
        return self._title

    def _front_matter(self) -> int:
        """Take a YAML head, if there is one."""
        if not self._lines or self._lines[0].rstrip() != "---":
            return 0
        end = next((n for n, line in enumerate(self._lines[1:200], 1) if line.rstrip() in {"---", "..."}), 0)
        if end:
            head = "\n".join(self._raw[1:end])
            titled = _META_TITLE.search(head)
            self._title = titled[1].strip().strip("\"'") if titled else ""
            self._writer.code(head, "yaml")
        return end + 1 if end else 0

    def _heading(self, text: str, level: int) -> None:
        if level == 1 and not self._title:
            self._title = text
        self._writer.heading(text, level)

    def _fence(self, here: int, mark: str) -> int:
        """Code until a fence at least as long; one that is never closed goes to the end."""
        closing = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        end = here + 1
        while end < len(self._lines) and not closing.match(self._lines[end]):
            end += 1
        whole = self._raw[here : end + 1]
        self._writer.add("\n".join(whole if end < len(self._lines) else [*whole, mark]), "code")
        return end + 1

    def _indented(self, here: int) -> int:
        end = here
        while end < len(self._lines) and (self._lines[end].startswith("    ") or not self._lines[end].strip()):
            end += 1
        self._writer.code("\n".join(line[4:] for line in self._lines[here:end]).rstrip())
        return end

    def _is_table(self, here: int) -> bool:
        below = self._lines[here + 1] if here + 1 < len(self._lines) else ""
        return "|" in self._lines[here] and "-" in below and bool(_CELLS.match(below.strip()))

    def _table(self, here: int) -> int:
        """A table until a blank line; a long one in several blocks, each with the header."""
        end = here + 2
        while end < len(self._lines) and "|" in self._lines[end] and self._lines[end].strip():
            end += 1
        self._writer.table_lines("\n".join(self._raw[here : here + 2]), self._raw[here + 2 : end])
        return end

    def _list(self, here: int) -> int:
        """A list with all that is indented below its items; a blank line ends it unless the list goes on after it."""
        end = here + 1
        while end < len(self._lines):
            line = self._lines[end]
            if not line.strip():
                following = self._lines[end + 1] if end + 1 < len(self._lines) else ""
                if not (following.startswith("  ") or _ITEM.match(following)):
                    break
            elif not line.startswith(" ") and (_HEADING.match(line) or _FENCE.match(line) or _RULE.match(line)):
                break
            end += 1
        self._writer.add("\n".join(self._raw[here:end]).rstrip(), "list")
        return end

    def _paragraph(self, here: int) -> int:
        """A paragraph until a blank line or other structure; with an underline it is a heading."""
        end = here + 1
        while end < len(self._lines) and (line := self._lines[end]).strip():
            if underline := _UNDERLINE.match(line):
                self._heading(" ".join(part.strip() for part in self._lines[here:end]), 1 + (underline[1][0] == "-"))
                return end + 1
            if (
                _HEADING.match(line)
                or _FENCE.match(line)
                or _RULE.match(line)
                or _ITEM.match(line)
                or self._is_table(end)
            ):
                break
            end += 1
        self._writer.add("\n".join(self._raw[here:end]).strip())
        return end
