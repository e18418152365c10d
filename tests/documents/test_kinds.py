"""The kind of a document: by its content, whatever its name says."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import time
import wave
import zipfile
from collections.abc import Mapping

import pytest
from PIL import Image

from orchestrator.documents.kinds import ARCHIVES, kind_of
from orchestrator.documents.readers import KINDS
from orchestrator.documents.reading import Unreadable

OOXML = "application/vnd.openxmlformats-officedocument"


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def office(main: str, folder: str = "word") -> bytes:
    types = f'<Types><Default Extension="rels" ContentType="x/y"/><Override PartName="/{folder}/main.xml" ContentType="{main}"/></Types>'
    return zipped({"[Content_Types].xml": types.encode(), f"{folder}/main.xml": b"<x/>"})


def open_document(family: str) -> bytes:
    return zipped({"mimetype": f"application/vnd.oasis.opendocument.{family}".encode(), "content.xml": b"<x/>"})


def picture(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, form)
    return buffer.getvalue()


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        info = tarfile.TarInfo("a.txt")
        info.size = 5000
        file.addfile(info, io.BytesIO(b"plain text" * 500))
    return buffer.getvalue()


def compound(*names: str, inner: tuple[str, ...] = ()) -> bytes:
    """An OLE compound file with these streams at its top and some in a folder, after [MS-CFB]."""
    entries = []
    top = list(range(1, len(names) + 1))
    below = list(range(len(names) + 1, len(names) + 1 + len(inner)))
    nothing = 0xFFFFFFFF

    def entry(name: str, kind: int, right: int = nothing, child: int = nothing) -> bytes:
        text = name.encode("utf-16-le") + b"\0\0"
        return text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, nothing, right, child) + bytes(48)

    entries.append(entry("Root Entry", 5, child=top[0] if top else nothing))
    for place, name in zip(top, names, strict=True):
        right = place + 1 if place < len(names) else nothing
        child = below[0] if below and place == len(names) else nothing
        entries.append(entry(name, 1 if child == nothing else 2, right, child))
    for place, name in zip(below, inner, strict=True):
        entries.append(entry(name, 2, place + 1 if place < below[-1] else nothing))
    directory = b"".join(entries)
    sectors = -(-len(directory) // 512)
    fat = [0xFFFFFFFD, *range(2, sectors + 1), 0xFFFFFFFE]
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(24, b"\0") + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
    header = header.ljust(44, b"\0") + struct.pack("<II", 1, 1)
    header = header.ljust(76, b"\0") + struct.pack("<I", 0)
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(512, b"\xff")
    return header.ljust(512, b"\xff") + table + directory.ljust(sectors * 512, b"\0")


def told(data: bytes) -> str:
    """Its kind, or why it has none."""
    try:
        return kind_of(data, "a")
    except Unreadable as refused:
        return refused.message


PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
MAIL = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n\r\nThe text.\r\n"
MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)

BY_CONTENT = {
    "pdf": [PDF, b"\n" * 20 + PDF, b"HTTP/1.1 200 OK\r\n\r\n" + PDF, b"\0\xff" * 500 + PDF],
    "png": [picture("PNG")],
    "jpeg": [picture("JPEG")],
    "webp": [picture("WEBP")],
    "gif": [picture("GIF")],
    "tiff": [picture("TIFF"), b"MM\0*\0\0\0\x08"],
    "wav": [sound()],
    "flac": [b"fLaC\0\0\0\x22" + bytes(34)],
    "mp3": [b"ID3\4\0\0\0\0\0\0" + MP3_FRAME, MP3_FRAME * 3],
    "docx": [
        office(f"{OOXML}.wordprocessingml.document.main+xml"),
        office(f"{OOXML}.wordprocessingml.template.main+xml"),
        office("application/vnd.ms-word.document.macroEnabled.main+xml"),
        zipped({"word/document.xml": b"<x/>", "[Content_Types].xml": b"strange"}),
        zipped({"[Content_Types].xml": b"x", "word\\document.xml": b"x"}),
        office(f"{OOXML}.wordprocessingml.document.main+xml")[:-30],
    ],
    "pptx": [
        office(f"{OOXML}.presentationml.presentation.main+xml", "ppt"),
        office(f"{OOXML}.presentationml.slideshow.main+xml", "ppt"),
    ],
    "xlsx": [
        office(f"{OOXML}.spreadsheetml.sheet.main+xml", "xl"),
        office("application/vnd.ms-excel.sheet.macroEnabled.main+xml", "xl"),
        office("application/vnd.ms-excel.sheet.binary.macroEnabled.main", "xl"),
    ],
    "odt": [open_document("text"), open_document("text-template")],
    "ods": [open_document("spreadsheet")],
    "zip": [zipped({"a.txt": b"a"}), zipped({"word/notes.txt": b"a"}), b"PK\x05\x06" + bytes(18)],
    "tar": [tarred()],
    "gzip": [gzip.compress(b"x")],
    "bzip2": [bz2.compress(b"x"), bz2.compress(b"")],
    "xz": [lzma.compress(b"x")],
    "html": [
        b"<!DOCTYPE html><p>x",
        b"\xef\xbb\xbf\n <HTML lang=de><body>",
        b"<?xml version='1.0'?>\n<!-- a -->\n<!DOCTYPE html PUBLIC 'x'>\n<html>",
        "<html><body>".encode("utf-16"),
    ],
    "eml": [MAIL, b"Received: from x\r\n\tby y\r\n" + MAIL, b"From a@b Mon Jan  1 10:00:00 2024\n" + MAIL],
}


@pytest.mark.parametrize(
    "kind, data",
    [(kind, data) for kind, ways in BY_CONTENT.items() for data in ways],
    ids=lambda one: one if isinstance(one, str) else "",
)
@pytest.mark.parametrize("name", ["a", "a.txt", "a.pdf", "a.DOCX", "a.csv", "a.exe"])
def test_a_file_under_a_wrong_name_is_what_its_content_is(kind, data, name):
    assert kind_of(data, name) == kind


def test_every_kind_has_a_reader_or_is_an_archive():
    assert set(BY_CONTENT) <= set(KINDS) | ARCHIVES


@pytest.mark.parametrize(
    "name, data, kind",
    [
        ("a.txt", b"plain", "text"),
        ("a", b"plain", "text"),
        ("a.unknown", b"plain", "text"),
        ("README.md", b"# Title", "markdown"),
        ("README.md", b"<p align='center'>x</p>\n# Title", "markdown"),
        ("README.md", b"<!-- a comment -->\n# Title", "markdown"),
        ("a.csv", b"a,b\n1,2\n", "csv"),
        ("a.csv", b"a;b\n1;2\n", "csv"),
        ("a.csv", b"a\tb\n1\t2\n", "tsv"),
        ("a.tsv", b"a\tb\n", "tsv"),
        ("a.tsv", b"a,b\n", "csv"),
        ("a.csv", b"only\n", "csv"),
        ("a.xls", b"a\tb\n1\t2\n", "tsv"),
        ("a.csv", "a\tb\n".encode("utf-16"), "tsv"),
        ("a.json", b'{"a": 1}', "json"),
        ("a.json", b"[1, 2]", "json"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', "jsonl"),
        ("a.json", b"not JSON", "text"),
        ("a.jsonl", b'{"a": 1}\n', "jsonl"),
        ("a.jsonl", b"prose", "text"),
        ("a", b'{"a": [1]}\n', "json"),
        ("a", b"[note] see below]", "text"),
        ("a.txt", b'{"a": [1]}\n', "text"),
        ("a.html", b"<p>A piece", "html"),
        ("a.html", b"no tag", "text"),
        ("a.txt", b"<p>A piece", "text"),
        ("a.xml", b"<?xml version='1.0'?><invoice><total>5</total></invoice>", "text"),
        ("a.eml", b"Subject: x\n\nText", "eml"),
        ("a.eml", b"prose", "text"),
        ("a.txt", b"From: me\nTo: you\nSubject: x\n\nBy hand", "text"),
        ("a.txt", b"Note: one\nprose", "text"),
        ("a.txt", "Gr\xfc\xdfe".encode("latin-1"), "text"),
        ("a.txt", "Привет".encode("koi8-r"), "text"),
        ("a.txt", "日本語".encode("iso2022_jp"), "text"),
        ("a.txt", "Grüße, ohne Marke".encode("utf-16-le"), "text"),
        ("a.txt", "Grüße, ohne Marke".encode("utf-16-be"), "text"),
        ("a.txt", b"one stray \0 in a log of some length, as programs that crash leave behind", "text"),
        ("a.txt", b"   \n", "text"),
        ("a.txt", b"MZ is a text", "text"),
        ("a.txt", b"BM, ID3 and BZh are letters", "text"),
        ("a.txt", b"ID3 tags", "text"),
        ("a.txt", b"BZhang wrote this", "text"),
        ("a.md", b"A file begins with %PDF-1.4, and ends with a mark.", "markdown"),
        ("a.sh", b"#!/bin/sh\necho x\n", "text"),
    ],
)
def test_between_kinds_of_text_the_name_is_a_hint(name, data, kind):
    assert kind_of(data, name) == kind


@pytest.mark.parametrize(
    "data, words",
    [
        (compound("WordDocument", "Data"), ".doc.*DOCX"),
        (compound("Current User", "PowerPoint Document"), ".ppt.*PPTX"),
        (compound("Workbook"), ".xls.*XLSX"),
        (compound("__properties_version1.0", "__nameid_version1.0"), "Outlook.*EML"),
        (compound("Workbook", "ObjectPool", inner=("WordDocument", "PowerPoint Document")), ".xls"),
        (compound(*(f"stream {i}" for i in range(40)), "WordDocument"), ".doc"),
        (compound("Strange"), "no known program"),
        (compound(), "no known program"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "no known program"),
        (b"{\\rtf1\\ansi text}", "RTF.*DOCX"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS.*PDF"),
        (b"\xc5\xd0\xd3\xc6" + bytes(26), "EPS.*PDF"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x">\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG.*PNG"),
        (b"<svg:svg xmlns:svg='x'/>", "SVG.*PNG"),
        (b"\x7fELF\2\1\1" + bytes(60), "program"),
        (b"MZ\x90\0\3\0\0\0" + bytes(60), "program"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "program"),
        (b"BM" + bytes(60), "picture.*PNG"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "picture.*PNG"),
        (b"\0\0\0\x18ftypisom" + bytes(60), "video"),
        (b"OggS\0" + bytes(60), "WAV"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(60), "ZIP"),
        (b"Rar!\x1a\x07\1\0" + bytes(60), "ZIP"),
        (b"SQLite format 3\0" + bytes(60), "CSV"),
        (zipped({"mimetype": b"application/epub+zip"}), "EPUB.*HTML"),
        (zipped({"META-INF/container.xml": b""}), "EPUB"),
        (open_document("presentation"), "PDF"),
        (zipped({"Index/Document.iwa": b""}), "Apple"),
        (random.Random(1).randbytes(5000), "binary"),
        (b"\0\1", "binary"),
        (b"From a@b 2024\n" + MAIL + b"\nFrom b@c Mon Jan  1 10:00:00 2024\n" + MAIL, "mailbox.*EML"),
    ],
)
def test_a14_what_is_not_read_is_named_with_what_to_convert_it_to(data, words):
    with pytest.raises(Unreadable, match=words) as caught:
        kind_of(data, "a.txt")
    assert caught.value.code == "unsupported_file"
    assert caught.value.message.endswith("submit that.")


def test_a_locked_office_document_needs_its_password():
    with pytest.raises(Unreadable, match="without one") as caught:
        kind_of(compound("EncryptionInfo", "EncryptedPackage"), "a.docx")
    assert caught.value.code == "password_required"


def test_no_bytes_are_an_empty_file():
    with pytest.raises(Unreadable) as caught:
        kind_of(b"", "a.pdf")
    assert caught.value.code == "empty_file"


@pytest.mark.parametrize("name", ["../../a.md", "/etc/a.md", "a\0.md", "x" * 100_000 + ".md", "\udcff.md", "con/a.MD"])
def test_a11_any_name_will_do(name):
    assert kind_of(b"text", name) in {"markdown", "text"}


def test_a14_a_file_that_is_two_things_is_the_one_it_begins_with():
    assert kind_of(picture("GIF") + PDF, "a.pdf") == "gif"
    assert kind_of(picture("JPEG") + zipped({"a": b"a"}), "a.zip") == "jpeg"
    assert kind_of(PDF + zipped({"a": b"a"}), "a.zip") == "pdf"


def test_a12_a_zip_is_known_without_unpacking_it():
    bomb = zipped({"[Content_Types].xml": bytes(200 * 1024 * 1024), "xl/workbook.xml": b""})
    begun = time.process_time()
    assert kind_of(bomb, "a.zip") == "xlsx"
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "data",
    [
        b"{" * 20_000_000,
        b"<!--" * 5_000_000,
        b" " * 20_000_000,
        b"<!DOCTYPE " * 2_000_000,
        b"a:" * 10_000_000,
        b"From a@b 2024\n" + MAIL + b"\n\nFrom " * 3_000_000,
        b"\0" * 20_000_000,
        b"PK\x03\x04" * 5_000_000,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 2_000_000,
        b"ID" * 10_000_000,
    ],
    ids=["json", "comments", "blanks", "doctypes", "headers", "mails", "nul", "zip", "ole", "letters"],
)
def test_a12_no_content_takes_long(data):
    begun = time.process_time()
    assert told(data)
    assert time.process_time() - begun < 20


def test_broken_files_of_any_kind_have_a_kind_or_one_clear_error():
    noise = random.Random(3)
    whole = [data for ways in BY_CONTENT.values() for data in ways] + [compound("WordDocument")]
    for data in whole:
        for _ in range(40):
            broken = bytearray(data[: noise.randint(1, len(data))])
            for _ in range(noise.randint(0, 4)):
                broken[noise.randrange(len(broken))] = noise.randrange(256)
            answer = told(bytes(broken))
            assert answer in set(KINDS) | ARCHIVES or answer.endswith(".")


def test_json_lines_need_a_whole_first_line():
    assert kind_of(json.dumps({"a": {"b": 1}}, indent=2).encode(), "a.json") == "json"
