"""One line of a batch: a request in OpenAI's form, or why a file or row cannot become one. Pure."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from orchestrator.errors import InvalidRequest
from orchestrator.requests import CHAT, CLASSIFY, EMBEDDINGS, SCORE

MIB: Final = 1024 * 1024
MAX_ID_CHARS: Final = 512

RowCode = Literal[
    "duplicate_custom_id",
    "empty_file",
    "file_too_large",
    "malformed_row",
    "missing_extra",
    "not_a_file",
    "password_required",
    "row_too_large",
    "text_too_long",
    "too_many_pages",
    "unreadable_file",
    "unsupported_file",
]
"""Why a file or row has no request; stable, for programs."""


class Unfit(InvalidRequest):
    """A file or row that cannot become a request; it becomes a line of the error file instead."""

    def __init__(self, row_code: RowCode, message: str) -> None:
        super().__init__(message)
        self.row_code: RowCode = row_code


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What the caller says about all rows; a row's own `rightsize` hints win over it."""

    task: str | None = None
    tier: str | None = None
    stakes: str | None = None
    instructions: str | None = None
    endpoint: str = CHAT
    max_row_bytes: int = 32 * MIB
    model: str = "auto"
    max_input_chars: int = 400_000
    """The longest text of one request, in characters; a longer one is refused, never cut."""

    @property
    def hints(self) -> dict[str, str]:
        """The routing hints that were given, and no others."""
        given = {"task": self.task, "tier": self.tier, "stakes": self.stakes}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Draft:
    """A row on its way to a line: the id it would like, and a body, a finished line, or what is wrong with it."""

    wanted_id: str
    content: dict[str, Any] | bytes | Unfit
    number: int = 0
    """The row's place in its file, from 1; 0 where the file is one row."""
    source: str = ""
    """The file's own name, for the id of a row whose wanted id is taken."""


def body_for(text: str, options: RowOptions) -> dict[str, Any]:
    """An OpenAI body for a text; raises Unfit for an endpoint that takes no text alone."""
    body: dict[str, Any] = {"model": options.model}
    if options.endpoint in (EMBEDDINGS, CLASSIFY):
        body["input"] = text
    elif options.endpoint == SCORE:
        raise Unfit("malformed_row", 'A text alone cannot be scored. Give rows with "queries" and "documents".')
    elif options.endpoint == "/v1/completions":
        body["prompt"] = f"{options.instructions}\n\n{text}" if options.instructions else text
    else:
        body["messages"] = [*system_message(options), {"role": "user", "content": text}]
    return _hinted(body, options)


def body_of(parts: Sequence[Mapping[str, Any]], options: RowOptions) -> dict[str, Any]:
    """A body for parts of texts, pictures and sounds, with what is asked of them among them; raises Unfit where they cannot go."""
    check_takes_parts(options)
    return _hinted({"model": options.model, "messages": [{"role": "user", "content": list(parts)}]}, options)


def check_takes_parts(options: RowOptions) -> None:
    """Raise Unfit for pictures and sounds on an endpoint that takes text only."""
    if options.endpoint != CHAT:
        raise Unfit("unsupported_file", f"Pictures and sounds cannot go to {options.endpoint}. Use {CHAT}.")


def _hinted(body: dict[str, Any], options: RowOptions) -> dict[str, Any]:
    if hints := options.hints:
        body["rightsize"] = hints
    return body


def system_message(options: RowOptions) -> list[dict[str, str]]:
    """The instructions as a system message, or nothing."""
    return [{"role": "system", "content": options.instructions}] if options.instructions else []


def checked_text(text: str, options: RowOptions, what: str) -> str:
    """The text itself, or Unfit where it is blank, too long or no valid Unicode."""
    if not text.strip():
        raise Unfit("malformed_row", f"{what} is empty. Give it some text.")
    if len(text) > options.max_input_chars:
        raise Unfit(
            "text_too_long",
            f"{what} has {len(text):,} characters, at most {options.max_input_chars:,} go into one request. Split it.",
        )
    if not is_unicode(text):
        raise Unfit("malformed_row", f"{what} holds half of a surrogate pair, which is no character. Remove it.")
    return text


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, so that it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_id(name: str) -> str:
    """A name as a custom_id: valid UTF-8, no control characters, 1 to 512 characters.

    Bytes of a file name that are no UTF-8 become U+FFFD; a name that is too long keeps both ends.
    """
    text = name.encode("utf-8", "surrogateescape" if _escaped(name) else "replace").decode("utf-8", "replace")
    text = "".join("�" if unicodedata.category(char) == "Cc" else char for char in text) or "�"
    if len(text) <= MAX_ID_CHARS:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[:300]}~{digest}~{text[-150:]}"


def _escaped(name: str) -> bool:
    """Whether every surrogate in a name stands for a byte, as the operating system's names have it."""
    return not any("\ud800" <= char <= "\udfff" and not "\udc80" <= char <= "\udcff" for char in name)


def request_line(custom_id: str, body: Mapping[str, Any], options: RowOptions) -> bytes:
    """A request as one line of a batch."""
    return dumped({"custom_id": custom_id, "method": "POST", "url": options.endpoint, "body": body})


def error_line(custom_id: str, unfit: Unfit) -> bytes:
    """A line that says why there is no request; the server turns it into a line of the error file."""
    return dumped({"custom_id": custom_id, "error": {"code": unfit.row_code, "message": _printable(unfit.message)}})


def dumped(value: object) -> bytes:
    """Compact JSON in UTF-8, without a newline."""
    return orjson.dumps(value)


def _printable(message: str) -> str:
    text = message.encode("utf-8", "replace").decode()
    return "".join("�" if unicodedata.category(char) == "Cc" else char for char in text)[:2_000]
