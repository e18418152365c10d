"""Which kind of text a file is, where its content leaves a choice also by its name. Pure."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from orchestrator.documents.containers import unsupported

_HEAD_BYTES: Final = 16 * 1024
_CONTROLS: Final = bytes([*range(9), *range(14, 27), *range(28, 32), 127])
"""No text has them, but for a stray one: blanks, line ends, form feeds and ESC (which ISO 2022 needs) are not among them."""
_STRAY: Final = 50
"""At most one character in so many may be a control character."""
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip

_SUFFIXES: Final[Mapping[str, str]] = {
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".eml": "eml", ".mht": "eml", ".mhtml": "eml",
    ".md": "markdown", ".markdown": "markdown", ".mdown": "markdown", ".mkd": "markdown",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".xls": "csv", ".xlsx": "csv",
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".txt": "text", ".text": "text", ".log": "text", ".rst": "text",
}  # fmt: skip
"""What a name hints at. Programs write tables as text under the names of Excel's files."""

_BEFORE_ROOT: Final = re.compile(
    r"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>)", re.DOTALL | re.IGNORECASE
)
_MOST_BEFORE_ROOT: Final = 20
_ROOT: Final = re.compile(r"\s*<([A-Za-z][\w.-]*(?::[\w.-]+)?)[\s/>]")
_HTML_ROOTS: Final = frozenset({"html", "head", "body"})
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>|<!--")
_HEADER: Final = re.compile(r"([!-9;-~]+):")
_MAIL_HEADERS: Final = frozenset({
    "from", "to", "cc", "subject", "date", "sender", "reply-to", "mime-version", "content-type", "received", "message-id", "return-path",
})  # fmt: skip
_SENT_HEADERS: Final = frozenset(
    {"received", "message-id", "mime-version", "return-path", "dkim-signature", "delivered-to"}
)
"""Mail programs and servers write them; nobody does by hand."""
_NEXT_MAIL: Final = re.compile(rb"\n\r?\nFrom [^\n]{1,200} \d{4}\r?\n[!-9;-~]+:")
"""The line that parts the mails of a mailbox ends with a year."""
_JSON: Final = re.compile(r'\s*(?:\{\s*["}]|\[\s*(?:[\[{"\-\d\]]|true|false|null))')
_JSON_VALUE: Final = re.compile(r'\s*(?:[\[{"\-\d]|true|false|null)')
_JSON_LINES: Final = re.compile(r"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")


def is_text(data: bytes) -> bool:
    """Whether a file is text of any encoding: it has next to no control characters."""
    if _encoding(data):
        return True
    return (len(data) - len(data.translate(None, _CONTROLS))) * _STRAY <= len(data)


def text_kind(data: bytes, name: str) -> str:
    """Which kind of text it is; raises Unreadable for text that is a drawing, or a document that is not read."""
    encoding = _encoding(data)
    head = data[:_HEAD_BYTES].decode(encoding or "utf-8", "replace").removeprefix("\N{BYTE ORDER MARK}")
    _refuse_other_documents(head)
    hint = _SUFFIXES.get(PurePosixPath(name).suffix.lower())
    if kind := _by_root(head):
        return kind
    if _is_mail(head, is_hinted=hint == "eml"):
        if head.startswith("From ") and _NEXT_MAIL.search(data):
            raise unsupported("a mailbox with several mails", "Export each mail as EML")
        return "eml"
    end = data[-_HEAD_BYTES:].decode(encoding or "utf-8", "replace").rstrip()[-1:]
    return _by_hint(head, end, hint)


def _encoding(data: bytes) -> str | None:
    """The encoding that a byte order mark tells, or that every other byte is NUL; None for any other."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding
    sample = data[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    enough, few = len(sample) * 0.3, len(sample) * 0.02
    if len(sample) >= 4 and odd > enough and even <= few:
        return "utf-16-le"
    return "utf-16-be" if len(sample) >= 4 and even > enough and odd <= few else None


def _refuse_other_documents(head: str) -> None:
    start = head.lstrip()[:16]
    if start.startswith("{\\rtf"):
        raise unsupported("an RTF document", "Save it as DOCX or PDF")
    if start.startswith("%!PS"):
        raise unsupported("a PostScript or EPS file", "Convert it to PDF")


def _by_root(head: str) -> str | None:
    """What its first tag says, behind a prolog and comments."""
    place = 0
    for _ in range(_MOST_BEFORE_ROOT):
        found = _BEFORE_ROOT.match(head, place)
        if not found:
            break
        if re.match(r"<!doctype\s+html\b", found[0].lstrip(), re.IGNORECASE):
            return "html"
        place = found.end()
    root = _ROOT.match(head, place)
    tag = root[1].lower().rpartition(":")[2] if root else ""
    if tag == "svg":
        raise unsupported("an SVG drawing", "Convert it to PNG or PDF")
    return "html" if tag in _HTML_ROOTS else None


def _is_mail(head: str, *, is_hinted: bool) -> bool:
    names = _header_names(head)
    if is_hinted:
        return bool(names & _MAIL_HEADERS)
    return bool(names & _SENT_HEADERS) and bool(names & {"from", "subject"})


def _header_names(head: str) -> set[str]:
    """The names of the headers that a text begins with, in lower case; none where another line stands among them."""
    names: set[str] = set()
    for number, line in enumerate(head.splitlines()):
        if not line.strip():
            break
        found = _HEADER.match(line)
        if found:
            names.add(found[1].lower())
        elif not (names and line[0] in " \t") and not (number == 0 and line.startswith("From ")):
            return set()
    return names


def _by_hint(head: str, end: str, hint: str | None) -> str:
    if hint == "html":
        return "html" if _TAG.search(head) else "text"
    if hint in {"csv", "tsv"}:
        return _table(head, hint)
    if hint in {"markdown", "text"}:
        return hint
    if hint == "jsonl":
        return "jsonl" if _JSON_VALUE.match(head) else "text"
    if _JSON_LINES.match(head):
        return "jsonl"
    if hint == "json":
        return "json" if _JSON_VALUE.match(head) else "text"
    return "json" if _JSON.match(head) and end in {"}", "]"} else "text"


def _table(head: str, hint: str) -> str:
    """By what parts its first line, where that is clear."""
    first = next((line for line in head.splitlines() if line.strip()), "")
    has_tabs, has_others = "\t" in first, "," in first or ";" in first
    if has_tabs == has_others:
        return hint
    return "tsv" if has_tabs else "csv"
