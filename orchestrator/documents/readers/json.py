"""JSON and JSON Lines, indented. Numbers, keys and their order stay exactly as they are written: nothing is parsed into values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from orchestrator.documents.readers.encoding import text_of
from orchestrator.documents.readers.writing import Writer, clean
from orchestrator.documents.reading import Inner, Limits, Page, Reading

BLOCK_LINES: Final = 200
SAMPLE_RECORDS: Final = 3
MOST_INDENT: Final = 32
"""Below this depth everything stays on one line: brackets in brackets, a thousand times, would be mostly indent."""

_TOKEN: Final = re.compile(r'"(?:[^"\\\n]++|\\.)*+"?|[\[\]{},:]|[^\s\[\]{},:"]+')
_OPEN: Final = frozenset("[{")
_CLOSE: Final = frozenset("]}")
_SIGNS: Final = frozenset("[]{},:")


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """JSON, indented, in blocks of whole lines; of JSON Lines a line a record.

    What is no valid JSON (NaN, comments, a cut end) stays as it is written.
    """
    del within
    found = text_of(data)
    writer = Writer(limits)
    if found.note:
        writer.tell(found.note)
    records = [line.strip() for line in clean(found.text).split("\n") if line.strip()]
    has_lines = len(records) > 1 and all(map(_is_record, records[:SAMPLE_RECORDS]))
    _write(map(_shown_all, records) if has_lines else _indented(found.text), writer)
    return Reading("jsonl" if has_lines else "json", (Page(1, writer.cut()),), notes=tuple(writer.notes))


def _is_record(line: str) -> bool:
    """Whether a line is JSON alone: an object, or an array with something in it."""
    try:
        return bool(line[0] in _OPEN and json.loads(line) and line[-1] in _CLOSE)
    except (ValueError, RecursionError):
        return False


def _write(lines: Iterable[str], writer: Writer) -> None:
    """The lines as blocks, each a fence of its own."""
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(block) == BLOCK_LINES:
            writer.code("\n".join(block), "json")
            block = []
    writer.code("\n".join(block), "json")


def _indented(text: str) -> Iterator[str]:
    """The lines of a text with two spaces for each bracket that is open."""
    line: list[str] = []
    depth = 0
    opened = bare = False
    for match in _TOKEN.finditer(text):
        part = match[0]
        if part in _CLOSE:
            depth = max(depth - 1, 0)
            if not opened and depth < MOST_INDENT:
                yield "".join(line)
                line = [_indent(depth)]
            line.append(part)
        else:
            if opened and depth <= MOST_INDENT:
                yield "".join(line)
                line = [_indent(depth)]
            line.append(f" {_shown(part)}" if bare and part not in _SIGNS else _shown(part))
            depth += part in _OPEN
            if part == ",":
                if depth <= MOST_INDENT:
                    yield "".join(line)
                    line = [_indent(depth)]
                else:
                    line.append(" ")
            elif part == ":":
                line.append(" ")
        opened = part in _OPEN
        bare = part not in _SIGNS
    if line:
        yield "".join(line)


def _indent(depth: int) -> str:
    return "  " * min(depth, MOST_INDENT)


def _shown_all(record: str) -> str:
    return _TOKEN.sub(lambda match: _shown(match[0]), record) if "\\u" in record else record


def _shown(part: str) -> str:
    """A string with its letters instead of their numbers."""
    if "\\u" not in part or not part.startswith('"'):
        return part
    try:
        shown = json.dumps(json.loads(part), ensure_ascii=False)
    except ValueError:  # no string after all
        return part
    return shown if clean(shown) == shown else part  # half a character, or one that cannot be seen, stays a number
