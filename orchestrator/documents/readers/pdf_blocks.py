"""Lines of a column as blocks: headings, paragraphs, lists and code. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from orchestrator.documents.readers.pdf_lines import Line, Words
from orchestrator.documents.readers.pdf_pieces import Piece
from orchestrator.documents.reading import BlockKind

_BULLET: Final = re.compile(r"(?:[•·▪■□◦‣●○◆►➢✓✔❖]\s*|[–—-]\s+)(?=\S)")
_NUMBER: Final = re.compile(r"(?:\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})\)|\d{1,3}\.)\s+(?=\S)")
_LARGER: Final = 1.12
"""A heading is larger than the body's text by at least this."""
_MUCH_LARGER: Final = 1.4
_LONGEST_HEADING: Final = 200
_LONGEST_BOLD: Final = 120
_DEEPEST_LEVEL: Final = 6
_MOST_SIZES: Final = 4
_MOST_LINES: Final = 300
"""In one paragraph."""

Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """A block in the coordinates in which it is read."""

    text: str
    kind: BlockKind
    level: int
    edges: Edges
    """u0, v0, u1, v1."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a document looks: what its body and its headings have in common over all its pages."""

    body: float = 10.0
    """The font size of most of its text, in points."""
    headings: tuple[float, ...] = ()
    """The sizes above it, the largest first."""
    mono: bool = False
    """Whether most of it is typed in letters of one width, so that those tell nothing."""
    bold: bool = False

    def level(self, size: float) -> int:
        """The level of a heading by its size; those of the body's size come after all others."""
        above = sum(other > size * 1.06 for other in self.headings)
        return min(above + 1, _DEEPEST_LEVEL)


def style_of(pieces: Iterable[Piece]) -> Style:
    """The style of a document by all its pieces."""
    sizes: Counter[float] = Counter()
    lines: Counter[float] = Counter()
    total = mono = bold = 0
    for piece in pieces:
        if piece.first < 0:  # filled in
            continue
        letters = len(piece.text)
        size = round(piece.size * 2) / 2
        sizes[size] += letters
        lines[size] += letters > 3 and any(map(str.isalpha, piece.text))
        total += letters
        mono += letters * piece.mono
        bold += letters * piece.bold
    if not sizes:
        return Style()
    body = sizes.most_common(1)[0][0]
    # Sizes that are nearly the same count as one, and of very many the most usual ones make the levels.
    heads: Counter[float] = Counter()
    for size, count in sorted(lines.items(), reverse=True):
        if size >= body * _LARGER and count:
            heads[next((other for other in heads if other < size * 1.06), size)] += count
    usual = [size for size, _ in heads.most_common(_MOST_SIZES)]
    return Style(body, tuple(sorted(usual, reverse=True)), mono > 0.6 * total, bold > 0.6 * total)


def blocks_of(lines: Sequence[Line], style: Style, words: Words) -> list[Found]:
    """The blocks that the lines of a column make."""
    blocks: list[Found] = []
    items: list[list[Line]] = []
    for group in _groups(lines, style):
        if _starts_item(group[0]) and not _is_heading(group, style):
            if items and not _same_list(items[-1][0], group[0]):
                blocks += _list_of(items, words)
                items = []
            items.append(group)
            continue
        blocks += _list_of(items, words)
        items = []
        blocks.append(_block(group, style, words))
    return blocks + _list_of(items, words)


def _block(group: list[Line], style: Style, words: Words) -> Found:
    if _is_code(group, style):
        return Found(_code(group), "code", 0, edges_of(group))
    if _is_heading(group, style):
        text = " ".join(_joined(group, words, whole=True).split())
        level = style.level(max(line.size for line in group))
        return Found(f"{'#' * level} {text}", "heading", level, edges_of(group))
    return Found(_joined(group, words), "paragraph", 0, edges_of(group))


def edges_of(lines: Sequence[Line]) -> Edges:
    """The box around lines."""
    return (
        min(line.u0 for line in lines),
        min(line.v0 for line in lines),
        max(line.u1 for line in lines),
        max(line.v1 for line in lines),
    )


def _groups(lines: Sequence[Line], style: Style) -> Iterator[list[Line]]:
    """Lines cut where a paragraph, a heading or a list's item begins."""
    if not lines:
        return
    pitches = [
        after.base - before.base for before, after in pairwise(lines) if 0 < after.base - before.base < 3 * after.size
    ]
    pitch = median(pitches) if pitches else style.body * 1.2
    group = [lines[0]]
    for before, line in pairwise(lines):
        if len(group) >= _MOST_LINES or _begins(before, line, group, pitch, style):
            yield group
            group = []
        group.append(line)
    yield group


def _begins(before: Line, line: Line, group: list[Line], pitch: float, style: Style) -> bool:
    """Whether a line begins something new after the one before it."""
    em = max(before.size, line.size)
    down = line.base - before.base
    if line.mono and before.mono and not style.mono:
        return down > 3.5 * em
    if min(before.u1, line.u1) < max(before.u0, line.u0):  # neither is above the other
        return True
    if line.mono != before.mono and not style.mono and min(len(line.text), len(before.text)) > 3:
        return True
    # Lines set wide apart all over the column are no paragraphs of their own; large type has its own distance.
    if down > max(1.3 * min(pitch, 2 * em), 1.3 * em) or down < 0.2 * em:
        return True
    if abs(before.size - line.size) > 0.12 * em and min(len(line.text), len(before.text)) > 3:
        return True
    if before.bold != line.bold and (before.bold or line.apart is before.apart) and len(line.text) > 3:
        return not _runs_in(before, line, group)
    if _starts_item(line):
        return True
    if _starts_item(group[0]):
        return line.u0 < group[0].u0 + 0.5 * em and (_fits(before, line, group) or line.u0 < group[0].u0 - 0.5 * em)
    indented = line.u0 - before.u0 > 0.8 * em and line.u0 - group[0].u0 > 0.8 * em and not line.rtl and not before.apart
    if indented and len(group) > 1 and abs(group[-1].u0 - group[0].u0) < 3 * em:
        return True
    return (
        len(group) > 1
        and not _breaks(group[-2], group[-1], group)
        and _breaks(before, line, group)
        and _is_prose(group)
    )


def _runs_in(before: Line, line: Line, group: list[Line]) -> bool:
    """Whether bold type merely ends or begins within a paragraph: the line before goes on to the column's edge."""
    return not _breaks(before, line, [*group, line]) and not before.text.endswith((".", ":", "?", "!"))


def _is_prose(group: list[Line]) -> bool:
    return median([len(line.text) for line in group]) > 30


def _breaks(before: Line, line: Line, group: Sequence[Line]) -> bool:
    """Whether a line ends early on purpose: the first word of the next one would have had room in it."""
    if before.apart or line.apart:
        return True
    if before.text.endswith(("-", "\u00ad")):
        return False
    return _fits(before, line, group)


def _fits(before: Line, line: Line, group: Sequence[Line]) -> bool:
    word = line.text.split(None, 1)[0] if line.text else ""
    step = (line.u1 - line.u0) / max(len(line.text), 1)
    if before.rtl:
        room = before.u0 - min(one.u0 for one in [*group, line])
    else:
        room = max(one.u1 for one in [*group, line]) - before.u1
    return room > (len(word) + 1.5) * step + 0.5 * before.size


def _joined(group: list[Line], words: Words, *, whole: bool = False) -> str:
    """The text of lines, with a break kept where a line ends early on purpose."""
    text = group[0].text
    ragged = not whole and _is_ragged(group)
    for before, line in pairwise(group):
        goes_on = line.text[:1].islower() or before.text.endswith(("-", "\u00ad"))
        ends = not whole and ((ragged and not goes_on) or _breaks(before, line, group))
        text = f"{text}\n{line.text}" if ends else words.joined(text, line.text)
    return text.replace("\u00ad", "")


def _is_ragged(group: list[Line]) -> bool:
    """Whether most lines end well before the longest one, as those of an address do."""
    if len(group) < 3:
        return False
    longest = max(line.u1 - line.u0 for line in group)
    shares = [(line.u1 - line.u0) / longest for line in group[:-1]]
    short = max(len(line.text) for line in group) < 40 and min(shares) < 0.75
    return short or sum(share > 0.85 for share in shares) * 2 < len(shares)


def _is_heading(group: list[Line], style: Style) -> bool:
    text = "".join(line.text for line in group)
    if _BULLET.match(text) or not any(letter.isalpha() for letter in text):
        return False
    if len(text) > _LONGEST_HEADING or any(line.apart for line in group):
        return False
    size = max(line.size for line in group)
    if size >= style.body * _MUCH_LARGER:
        return len(group) <= 4 and len(text) > 1
    if text[-1] in ".,;:" or len(group) > 2 or any(_breaks(before, line, group) for before, line in pairwise(group)):
        return False
    if size >= style.body * _LARGER:
        return 1 < len(text) <= _LONGEST_BOLD
    bold = all(line.bold for line in group) and not style.bold
    return bold and len(text) <= _LONGEST_BOLD and size >= 0.95 * style.body


def _is_code(group: list[Line], style: Style) -> bool:
    if style.mono or not all(line.mono for line in group):
        return False
    return len(group) > 1


def _code(group: list[Line]) -> str:
    """Lines of code in a fence, their indentation by where they stand."""
    step = median([(line.u1 - line.u0) / max(len(line.text), 1) for line in group]) or 1.0
    left = min(line.u0 for line in group)
    pitch = median([after.base - before.base for before, after in pairwise(group)] or [0.0])
    told: list[str] = []
    for index, line in enumerate(group):
        if index and line.base - group[index - 1].base > 1.7 * pitch:
            told.append("")
        told.append(" " * min(round((line.u0 - left) / step), 80) + line.text)
    fence = "````" if any("```" in line for line in told) else "```"
    return "\n".join((fence, *told, fence))


def _starts_item(line: Line) -> bool:
    return bool(_BULLET.match(line.text) or _NUMBER.match(line.text))


def _same_list(first: Line, other: Line) -> bool:
    """Whether two items are marked alike, or the second lies within the first."""
    bullets = [bool(_BULLET.match(line.text)) for line in (first, other)]
    return bullets[0] == bullets[1] or abs(first.u0 - other.u0) > first.size


def _list_of(items: list[list[Line]], words: Words) -> list[Found]:
    """Items as one list; a numbered one that stands alone is a paragraph."""
    if not items:
        return []
    lines = [line for item in items for line in item]
    if len(items) == 1 and not _BULLET.match(items[0][0].text):
        return [Found(_joined(items[0], words), "paragraph", 0, edges_of(items[0]))]
    depths = _depths([item[0] for item in items])
    told = []
    for item, depth in zip(items, depths, strict=True):
        text = _joined(item, words)
        marked = _BULLET.match(text)
        text = f"- {text[marked.end() :]}" if marked else text
        told.append("\n".join("  " * depth + line for line in text.split("\n")))
    return [Found("\n".join(told), "list", 0, edges_of(lines))]


def _depths(firsts: list[Line]) -> list[int]:
    """How deep each item lies, by how far it is indented."""
    places: list[float] = []
    for place in sorted(line.u0 for line in firsts):
        if not places or place - places[-1] > firsts[0].size * 0.8:
            places.append(place)
    return [min(sum(line.u0 > place + 0.1 for place in places[1:]) if places else 0, 4) for line in firsts]
