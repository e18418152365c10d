"""A text file as one request."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from orchestrator.documents.files import read_whole
from orchestrator.documents.lines import Draft, RowOptions, Unfit, body_for, checked_text


def read(stream: BinaryIO, source: str, options: RowOptions) -> Iterator[Draft]:
    """One draft with the text of the file; raises Unfit for what is no text or too long."""
    try:
        # A character has at most four bytes; what is over that is too long in any case.
        data = read_whole(stream, 4 * options.max_input_chars + 4, f"A text of {options.max_input_chars:,} characters")
    except Unfit as unfit:
        if unfit.row_code == "file_too_large":
            limit = f"{options.max_input_chars:,}"
            raise Unfit(
                "text_too_long", f"The file has more than {limit} characters, the most for one request. Split it."
            ) from None
        raise
    yield Draft(source, body_for(checked_text(_decoded(data), options, "The file"), options), source=source)


def _decoded(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 with a byte order mark, with every line end a LF."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    if encoding == "utf-8-sig" and b"\0" in data:
        raise Unfit(
            "unreadable_file", "The file is binary, not text: it has NUL bytes. Give it the suffix of its real kind."
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unfit(
            "unreadable_file", f"The file is no valid UTF-8 at byte {error.start + 1}. Save it as UTF-8."
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
