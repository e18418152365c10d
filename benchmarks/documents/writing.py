"""Files of several kinds around some paragraphs, written by hand: no library that a reader may share."""

from __future__ import annotations

import io
import textwrap
import zipfile
import zlib
from collections.abc import Sequence
from email.message import EmailMessage
from html import escape
from typing import Final

LINE: Final = 90
LINES: Final = 48
"""Of a page."""
_W: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES: Final = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS: Final = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>'
    "</Relationships>"
)


def html(parts: Sequence[str]) -> bytes:
    """A page with a heading and paragraphs."""
    body = "".join(f"<p>{escape(part)}</p>\n" for part in parts)
    return f'<!doctype html><html><head><meta charset="utf-8"></head><body>\n{body}</body></html>'.encode()


def eml(parts: Sequence[str]) -> bytes:
    """A mail with the text as its body."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "one@example.com", "other@example.com"
    mail.set_content("\n\n".join(parts))
    return bytes(mail)


def docx(parts: Sequence[str]) -> bytes:
    """A document of Word."""
    body = "".join(f"<w:p><w:r><w:t>{escape(part)}</w:t></w:r></w:p>" for part in parts)
    document = f'<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>'
    files = {"[Content_Types].xml": _TYPES, "_rels/.rels": _RELATIONS, "word/document.xml": document}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in files.items():
            made.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0" encoding="UTF-8"?>\n{text}')
    return buffer.getvalue()


def pdf(parts: Sequence[str]) -> bytes:
    """A PDF with as many pages as the lines need."""
    lines = [line for part in parts for line in (*textwrap.wrap(part, LINE), "")]
    pages = [_page_stream(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for number, stream in enumerate(pages):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
        packed = zlib.compress(stream)
        objects += [
            page.encode(),
            b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(packed), packed),
        ]
    return _assembled(objects)


def _page_stream(lines: Sequence[str]) -> bytes:
    shown = b"".join(b"(%s) Tj T*\n" % _literal(line) for line in lines)
    return b"BT /F 10 Tf 14 TL 50 790 Td\n%sET" % shown


def _literal(line: str) -> bytes:
    data = line.encode("cp1252", "replace")
    return data.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _assembled(objects: Sequence[bytes]) -> bytes:
    data, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    return data + head + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
