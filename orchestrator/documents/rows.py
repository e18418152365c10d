"""The rows of a batch from a file, a folder or standard input: one line at least for each file, always."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.documents import jsonl
from orchestrator.documents.ahead import ROW_SUFFIXES, Drafts
from orchestrator.documents.files import Found, walk
from orchestrator.documents.lines import Draft, RowOptions, Unfit, clean_id, error_line, request_line
from orchestrator.errors import InvalidRequest
from orchestrator.hints import hints_from
from orchestrator.requests import ENDPOINTS

__all__ = ["ROW_SUFFIXES", "RowOptions", "rows_of"]

SUPPORTED: Final = "documents, pictures and sounds of the kinds that are read, tables (.csv, .tsv), or rows (.jsonl)"


def rows_of(path: Path, options: RowOptions | None = None, *, stdin: BinaryIO | None = None) -> Iterator[bytes]:
    """The lines of a batch's input file, without newlines, for a file, a folder (everything below it, by name) or `-`.

    Each is an OpenAI batch row, or `{"custom_id", "error": {"code", "message"}}` for what cannot become one. Ids are
    unique: the path below the folder, with `#` and a number for rows of tables and JSONL. A few documents are read ahead,
    and of tables and JSONL one row is held. Raises InvalidRequest at the call for options that cannot be and a path
    that does not exist, and later for an empty folder.
    """
    chosen = options or RowOptions()
    hints_from(chosen.hints)
    if chosen.endpoint not in ENDPOINTS:
        raise InvalidRequest(f"Endpoint {chosen.endpoint!r} is not served. Use one of {', '.join(sorted(ENDPOINTS))}.")
    if str(path) == "-":
        drafts = jsonl.read_rows(stdin or sys.stdin.buffer, "stdin", chosen, direct=True)
        return _lines(drafts, chosen)
    try:
        path.lstat()
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"{str(path)!r} cannot be submitted: {_reason(error)}. Give a file, a folder, or `-`."
        ) from None
    return _lines(_drafts_below(path, chosen), chosen)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _drafts_below(path: Path, options: RowOptions) -> Iterator[Draft]:
    with Drafts(options) as drafts:
        if path.is_dir():
            yield from drafts.of(_not_empty(path), follow=False)
        else:
            yield from drafts.of(iter([Found(path, path.name)]), follow=True)


def _not_empty(folder: Path) -> Iterator[Found]:
    empty = True
    for found in walk(folder):
        empty = False
        yield found
    if empty:
        raise InvalidRequest(f"The folder {str(folder)!r} holds no files. Give one that does: {SUPPORTED}.")


def _lines(drafts: Iterator[Draft], options: RowOptions) -> Iterator[bytes]:
    seen: set[int] = set()  # hashes, so that a million ids fit into memory
    for draft in drafts:
        yield _line(draft, seen, options)


def _line(draft: Draft, seen: set[int], options: RowOptions) -> bytes:
    content = draft.content
    if isinstance(content, bytes):
        if hash(draft.wanted_id) not in seen:
            seen.add(hash(draft.wanted_id))
            return content
        content = Unfit(
            "duplicate_custom_id",
            f"Line {draft.number} of {draft.source} repeats the custom_id {draft.wanted_id!r}. Give each row its own.",
        )
    custom_id = _unique(draft, seen)
    if isinstance(content, Unfit):
        return error_line(custom_id, content)
    line = request_line(custom_id, content, options)
    if len(line) > options.max_row_bytes:
        limit = f"{options.max_row_bytes:,}"
        return error_line(
            custom_id, Unfit("row_too_large", f"The request has {len(line):,} bytes, at most {limit}. Split it.")
        )
    return line


def _unique(draft: Draft, seen: set[int]) -> str:
    """The wanted id where it is free, else one with the row's place, else one with a count."""
    custom_id = clean_id(draft.wanted_id)
    count = 1
    while hash(custom_id) in seen:
        place = f"{draft.source}#{draft.number}" if draft.number else draft.wanted_id
        custom_id = clean_id(place if count == 1 else f"{place}~{count}")
        count += 1
    seen.add(hash(custom_id))
    return custom_id
