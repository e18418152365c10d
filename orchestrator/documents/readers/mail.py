"""Mails (EML, MHTML): who wrote what to whom, and what is attached.

The parser's plain policy is taken: the newer one takes seconds over ten thousand parts, and trips over crafted addresses.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import email.message
import email.policy
import email.utils
import re
from dataclasses import replace
from typing import Final

from orchestrator.documents.readers import html
from orchestrator.documents.readers.encoding import decoded
from orchestrator.documents.readers.writing import Writer, clean, escaped, one_line, title_of
from orchestrator.documents.reading import Inner, Limits, Page, Reading, Unreadable

HEADERS: Final = ("From", "To", "Cc", "Date", "Subject")
MOST_HEADER: Final = 20_000
"""Characters of one header that are shown: about a thousand addresses."""
MOST_NAME: Final = 200
MOST_REFUSED: Final = 50
"""Attachments that are each told to be left out; of more there is a count."""
FEW: Final = 5
"""A plain text with so many times fewer words than the HTML beside it only says that there is HTML."""

_WORD: Final = re.compile(r"\w+")
_BLANK: Final = re.compile(r"\n(?:[ \t]*\n)+")

_Message = email.message.Message


def read(data: bytes, limits: Limits, within: Inner) -> Reading:
    """A mail: its headers and its text as the first page, and each page of what is attached as a further one, named after it.

    Pictures that stand in the text are read as attachments are. An attachment that is refused is told in a note.
    """
    try:
        message = email.message_from_bytes(data, policy=email.policy.compat32)
        bodies, attached = _parts(message, limits)
    except RecursionError:
        raise Unreadable(
            "unreadable_file",
            "Its parts are nested too deep. Forward it as an attachment of its own, or save its text.",
        ) from None
    writer = Writer(limits)
    subject = header(message, "Subject")
    lines = [f"{name}: {text}" for name in HEADERS if (text := header(message, name))]
    writer.add(escaped("\n".join(lines)))
    for forms in bodies:
        _write_body(forms, limits, writer)
    pages = [Page(1, writer.cut())]
    pages += _attachments(attached, limits, within, writer)
    if not lines and not any(page.blocks for page in pages):
        raise Unreadable("unreadable_file", "It is no mail that can be read: it has neither headers nor text.")
    return Reading("eml", tuple(pages), title=title_of(subject), notes=tuple(writer.notes))


def header(message: _Message, name: str) -> str:
    """A header in its own letters on one line."""
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return one_line(clean(_decoded_words(one_line(raw[:MOST_HEADER]))))


def _decoded_words(raw: str) -> str:
    """Text with its encoded words decoded; bytes beyond ASCII are read as text is, and what is no valid word stays as it is."""
    text = decoded(raw.encode("utf-8", "surrogateescape")).text
    try:
        pieces = email.header.decode_header(text)
    except (email.errors.HeaderParseError, ValueError):
        return text
    out: list[str] = []
    for piece, charset in pieces:
        if isinstance(piece, str):
            out.append(piece)
        else:
            out.append(decoded(piece, charset).text if charset else piece.decode("raw-unicode-escape", "replace"))
    return "".join(out)


def _parts(message: _Message, limits: Limits) -> tuple[list[list[_Message]], list[_Message]]:
    """The texts of a mail's body, each with the other forms of it, and what is attached; a mail within it is attached as a whole."""
    bodies: list[list[_Message]] = []
    attached: list[_Message] = []
    waiting: list[tuple[_Message, list[_Message] | None]] = [(message, None)]
    while waiting:
        part, forms = waiting.pop()
        kind = part.get_content_type()
        if part.is_multipart() and kind != "message/rfc822":
            if kind == "multipart/alternative" and forms is None:
                forms = []
                bodies.append(forms)
            waiting += [(one, forms) for one in reversed(_inner(part))]
        elif kind in {"text/plain", "text/html"} and part.get_content_disposition() != "attachment" and not _name(part):
            if forms is None:
                bodies.append([part])
            else:
                forms.append(part)
        else:
            attached.append(part)
        if len(bodies) > limits.max_parts:
            raise Unreadable(
                "file_too_large", f"It has over {limits.max_parts:,} texts, the most. Save its text alone."
            )
    return bodies, attached


def _write_body(forms: list[_Message], limits: Limits, writer: Writer) -> None:
    """Write a text that came in one or more forms: the plain one, unless that only says that there is another."""
    plain = [_text(part) for part in forms if part.get_content_type() == "text/plain"]
    page = Writer(limits)
    for part in forms:
        if part.get_content_type() == "text/html":
            html.write(_text(part), page)
    blocks = page.cut()
    said, shown = (sum(len(_WORD.findall(text)) for text in texts) for texts in (plain, [one.text for one in blocks]))
    if said * FEW <= shown:
        for block in blocks:
            writer.add(block.text, block.kind, block.level)
        for note in page.notes:
            writer.tell(note)
        return
    for text in plain:
        for paragraph in _BLANK.split(clean(text)):
            writer.paragraph(paragraph)


def _text(part: _Message) -> str:
    """The text of a part, whatever is wrong with its charset; lines that were broken to be sent are joined again."""
    data = _bytes(part)
    if part.get_content_type() == "text/html":
        return decoded(data, _parameter(part, "charset") or html.named_encoding(data)).text
    text = decoded(data, _parameter(part, "charset")).text
    if _parameter(part, "format").lower() != "flowed":
        return text
    out: list[str] = []
    for raw in text.replace("\r\n", "\n").split("\n"):
        line = raw.removeprefix(" ")
        flows = bool(out) and out[-1].endswith(" ") and out[-1] != "-- " and line[:1] != ">"
        out[-1:] = [out[-1] + line] if flows else [*out[-1:], line]
    return "\n".join(out)


def _inner(part: _Message) -> list[_Message]:
    """The parts of a part; none where it has a text."""
    content = part.get_payload() if part.is_multipart() else []
    return [one for one in content if isinstance(one, email.message.Message)]


def _bytes(part: _Message) -> bytes:
    try:
        content = part.get_payload(decode=True)
    except (ValueError, LookupError, AssertionError):
        content = None
    if isinstance(content, bytes):
        return content
    try:
        raw = part.get_payload()
    except ValueError:  # the name of its encoding holds what no name does
        del part["Content-Type"]
        raw = part.get_payload()
    return raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else b""


def _parameter(part: _Message, name: str) -> str:
    """A parameter of the kind of content; empty where it is missing or broken."""
    try:
        value = part.get_param(name, "")
        return email.utils.collapse_rfc2231_value(value) if value else ""
    except (ValueError, LookupError, TypeError):
        return ""


def _name(part: _Message) -> str:
    """The name that an attachment came with."""
    try:
        name = part.get_filename("") or ""
    except (ValueError, LookupError, TypeError):
        name = ""
    return one_line(clean(_decoded_words(str(name))))[:MOST_NAME]


def _attachments(attached: list[_Message], limits: Limits, within: Inner, writer: Writer) -> list[Page]:
    """The pages of what is attached; what cannot be read is told, and costs no more than itself."""
    pages: list[Page] = []
    refused = 0
    for number, part in enumerate(attached, 1):
        if number > limits.max_parts:
            writer.tell(
                f"{len(attached) - limits.max_parts:,} attachments were left out: at most {limits.max_parts:,}."
            )
            break
        name = _name(part) or f"attachment {number}{_suffix(part)}"
        try:
            reading = within(_content(part), name)
        except Unreadable as problem:
            refused += 1
            if refused <= MOST_REFUSED:
                writer.tell(f"The attachment {name!r} was not read: {problem.message}")
            continue
        for note in reading.notes:
            writer.tell(f"In the attachment {name!r}: {note}")
        for page in reading.pages:
            writer.spend(len(page.text))
            pages.append(replace(page, number=len(pages) + 2, name=f"{name}: {page.name}" if page.name else name))
    if refused > MOST_REFUSED:
        writer.tell(f"{refused:,} attachments in all were not read.")
    return pages


def _content(part: _Message) -> bytes:
    """What is attached; of a mail its source."""
    if part.is_multipart():
        try:
            return b"".join(one.as_bytes() for one in _inner(part))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise Unreadable("unreadable_file", "It is broken. Have it sent again, or save its text.") from None
    return _bytes(part)


def _suffix(part: _Message) -> str:
    """A suffix for an attachment without a name: it is a hint where its content leaves a choice."""
    kind = part.get_content_type()
    known = {"text/plain": ".txt", "text/html": ".html", "text/csv": ".csv", "message/rfc822": ".eml"}
    return known.get(kind, "")
