"""The rows of a batch from a file, a folder or standard input: one line at least for each file, always."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from orchestrator.documents import jsonl, pictures, tables, text
from orchestrator.documents.files import open_regular, walk
from orchestrator.documents.lines import Draft, RowOptions, Unfit, clean_id, error_line, request_line
from orchestrator.documents.pdf import PdfReader
from orchestrator.errors import InvalidRequest
from orchestrator.hints import hints_from
from orchestrator.requests import ENDPOINTS

__all__ = ["RowOptions", "rows_of"]

TEXT_SUFFIXES: Final = frozenset({".txt", ".text", ".md", ".markdown", ".rst", ".log", ".json"})
PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
ROW_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv"})
SUPPORTED: Final = (
    "text (.txt, .md, .rst, .log, .json), tables (.csv, .tsv), .jsonl, .pdf, and pictures (.png, .jpg, .webp, .gif)"
)


def rows_of(path: Path, options: RowOptions | None = None, *, stdin: BinaryIO | None = None) -> Iterator[bytes]:
    """The lines of a batch's input file, without newlines, for a file, a folder (everything below it, by name) or `-`.

    Each is an OpenAI batch row, or `{"custom_id", "error": {"code", "message"}}` for what cannot become one. Ids are
    unique: the path below the folder, with `#` and a number for rows of tables and JSONL. One file at a time is held,
    and of tables and JSONL one row. Raises InvalidRequest at the call for options that cannot be and a path
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
    with PdfReader() as pdf:
        if not path.is_dir():
            yield from _drafts(path, path.name, options, pdf, direct=True)
            return
        empty = True
        for found in walk(path):
            empty = False
            if found.unfit:
                yield Draft(found.name, found.unfit, source=found.name)
            else:
                yield from _drafts(found.path, found.name, options, pdf, direct=False)
        if empty:
            raise InvalidRequest(f"The folder {str(path)!r} holds no files. Give one that does: {SUPPORTED}.")


def _drafts(path: Path, name: str, options: RowOptions, pdf: PdfReader, *, direct: bool) -> Iterator[Draft]:
    """The drafts of one file; what goes wrong with it is its last one."""
    try:
        with open_regular(path, follow=direct) as stream:
            yield from _read(stream, name, options, pdf, direct=direct)
    except Unfit as unfit:
        yield Draft(name, unfit, source=name)


def _read(stream: BinaryIO, name: str, options: RowOptions, pdf: PdfReader, *, direct: bool) -> Iterator[Draft]:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in ROW_SUFFIXES:
        return jsonl.read_rows(stream, name, options, direct=direct)
    if suffix in TABLE_SUFFIXES:
        return tables.read_rows(stream, name, options, tabs=suffix == ".tsv")
    if suffix in TEXT_SUFFIXES:
        return text.read(stream, name, options)
    if suffix in PICTURE_SUFFIXES:
        return pictures.read(stream, name, options)
    if suffix == ".pdf":
        return pdf.read(stream, name, options)
    kind = f"Files of kind {suffix}" if suffix else "Files without a suffix"
    raise Unfit("unsupported_file", f"{kind} cannot be read. Supported are {SUPPORTED}. Convert it to one of them.")


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
