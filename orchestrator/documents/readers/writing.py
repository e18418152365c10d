"""Blocks of Markdown from what a reader found, within the limits of one document. No text in them breaks out of its place.

Structure that is ours (headings, tables, fences) is written here and nowhere else; the same marks at the start of a paragraph's line, in a
cell or in a heading are escaped or folded. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from orchestrator.documents.reading import MOST_BLOCKS, Block, BlockKind, Box, Limits, Unreadable

TABLE_ROWS: Final = 200
"""Of one block of a table; the next one begins with the same header, so that it can be read alone."""
MOST_LEVEL: Final = 6
LIST_DEPTH: Final = 8
"""Deeper lists are not indented further: the indent of a list in a list, a thousand times, would be most of the text."""
MOST_TARGET: Final = 300
"""Characters of a link's target: longer ones are there to follow people, and nobody reads them."""
MOST_TITLE: Final = 300
MOST_NOTE: Final = 500

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_ENDS: Final = frozenset("\x0b\x0c\x85\u2028\u2029")
_MARKS: Final = re.compile(r"^([ \t]*)(#{1,6}(?=\s|$)|`{3}|~{3}|\|)", re.MULTILINE)
_PIPES: Final = re.compile(r"(?<!\\)(\\*)\|")
_FENCES: Final = re.compile(r"`{3,}")
_TARGET: Final = re.compile(r"(?:https?:|mailto:|tel:|ftp:|(?![a-z][a-z0-9+.-]*:)[^#])", re.IGNORECASE)
"""A link to somewhere else: not within the page, and in no scheme that runs or holds something."""


def clean(text: str) -> str:
    """A text as it can be shown: one kind of line end, and no control, direction or zero-width characters.

    Soft hyphens go, lone surrogates become U+FFFD, and letters hidden as Unicode tags appear as the letters that they stand for.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub(_seen, text) if _UNSEEN.search(text) else text


def _seen(match: re.Match[str]) -> str:
    character = match[0]
    if character in _LINE_ENDS:
        return "\n"
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    if "\U000e0020" <= character <= "\U000e007e":
        return chr(ord(character) - 0xE0000)
    return ""


def one_line(text: str) -> str:
    """A text without line ends, its runs of white space as single spaces."""
    return " ".join(text.split())


def title_of(text: str) -> str:
    """A title of bounded length on one line."""
    return one_line(clean(text))[:MOST_TITLE]


def linked(words: str, href: str) -> str:
    """Words with the target of their link, where it leads somewhere that a reader could go; else the words, on one line in any case."""
    words = one_line(words)
    target = "".join(href.split())
    if not words or len(target) > MOST_TARGET or not _TARGET.match(target):
        return words
    if words in {target, target.removeprefix("mailto:")}:
        return words
    target = target.replace("<", "%3C").replace(">", "%3E")
    return f"[{words}]({target if _is_balanced(target) else target.replace('(', '%28').replace(')', '%29')})"


def _is_balanced(target: str) -> bool:
    """Whether its parentheses pair up, so that Markdown sees where it ends."""
    depth = 0
    for character in target:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def escaped(text: str) -> str:
    """A paragraph whose lines cannot be taken for headings, fences or tables."""
    return _MARKS.sub(r"\1\\\2", text)


def in_cell(text: str) -> str:
    """The text of a cell: on one line, and with its pipes escaped."""
    text = one_line(text)
    return _PIPES.sub(lambda match: match[1] * 2 + "\\|", text) if "|" in text else text


def item_line(text: str, depth: int, marker: str) -> str:
    """An item of a list, indented by its depth from 0; one without a marker goes on with the item above."""
    indent = "    " * min(depth, LIST_DEPTH)
    inner = indent + " " * (len(marker) + 1 if marker else 4)
    lines = escaped(text).split("\n")
    first = f"{indent}{marker} {lines[0]}" if marker else f"{inner}{lines[0]}"
    return "\n".join([first, *(inner + line for line in lines[1:])])


class Writer:
    """Makes the blocks of one document, and refuses it where they would have more text than its limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._chars = self._count = 0
        self._blocks: list[Block] = []
        self.notes: list[str] = []
        """What the caller should know: each once, bounded."""

    def cut(self) -> tuple[Block, ...]:
        """The blocks since the last cut: those of a page."""
        blocks, self._blocks = tuple(self._blocks), []
        return blocks

    def tell(self, note: str) -> None:
        """Add a note for the caller, once."""
        note = one_line(clean(note))
        note = note if len(note) <= MOST_NOTE else f"{note[: MOST_NOTE - 3]}..."
        if note not in self.notes:
            self.notes.append(note)

    def spend(self, chars: int) -> None:
        """Count characters that are to come; raises Unreadable where they are too many."""
        self._chars += chars
        if self._chars > self._limits.max_chars:
            raise Unreadable(
                "text_too_long", f"It has over {self._limits.max_chars:,} characters of text, the most. Split it."
            )

    def add(self, text: str, kind: BlockKind = "paragraph", level: int = 0, box: Box | None = None) -> None:
        """Add a block of Markdown as it is; an empty one is left out."""
        if not text:
            return
        self.spend(len(text))
        self._count += 1
        if self._count > MOST_BLOCKS:
            raise Unreadable("text_too_long", f"It has over {MOST_BLOCKS:,} paragraphs and tables, the most. Split it.")
        self._blocks.append(Block(text, kind, level, box))

    def paragraph(self, text: str, box: Box | None = None) -> None:
        """Add a paragraph; its line ends stay, its empty lines and the blanks around lines do not."""
        lines = (line.strip(" ") for line in clean(text).strip().split("\n"))
        self.add(escaped("\n".join(line for line in lines if line)), box=box)

    def heading(self, text: str, level: int, box: Box | None = None) -> None:
        """Add a heading, its marks included."""
        line = one_line(clean(text))
        level = min(max(level, 1), MOST_LEVEL)
        self.add(f"{'#' * level} {line}" if line else "", "heading", level, box)

    def note(self, text: str, box: Box | None = None) -> None:
        """Add what stands beside the text: a footnote, a comment, the words for a picture."""
        self.add(escaped(one_line(clean(text))), "note", box=box)

    def code(self, text: str, language: str = "") -> None:
        """Add code or other text that keeps its spaces, in a fence that is longer than any within."""
        text = clean(text).strip("\n")
        fence = "`" * max(3, 1 + max((len(run) for run in _FENCES.findall(text)), default=0))
        self.add(f"{fence}{language}\n{text}\n{fence}" if text.strip() else "", "code")

    def table(self, rows: Iterable[Sequence[str]], box: Box | None = None) -> None:
        """Add a table whose first row is its header, in blocks of at most `TABLE_ROWS` rows; rows may have any length."""
        lines = iter(rows)
        first = next(lines, None)
        if first is not None:
            head = f"{_row(first)}\n|{' - |' * max(len(first), 1)}"
            self.table_lines(head, map(_row, lines), box)

    def table_lines(self, head: str, rows: Iterable[str], box: Box | None = None) -> None:
        """Add a table that is Markdown already: its header with the line below it, then its rows."""
        lines: list[str] = []
        pending, begun = len(head), False
        self.has_room(pending)
        for row in rows:
            lines.append(row)
            pending += len(row) + 1
            self.has_room(pending)
            if len(lines) == TABLE_ROWS:
                self.add("\n".join([head, *lines]), "table", box=box)
                lines, pending, begun = [], len(head), True
        if lines or not begun:
            self.add("\n".join([head, *lines]), "table", box=box)

    def has_room(self, chars: int) -> None:
        """Look ahead: raises Unreadable where so many more characters would be too many."""
        self.spend(chars)
        self._chars -= chars


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join([in_cell(clean(cell)) for cell in cells])} |"
