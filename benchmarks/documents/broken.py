"""Files that take a reader down where it lets them: cut off, bombs, nested without end, lies about their size. All made here, small."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib
from typing import Final

from benchmarks.documents import writing

SEED: Final = 11
BOMB_BYTES: Final = 512 * 1024 * 1024
"""What the bombs unpack to."""
DEEP: Final = 200_000
PARTS: Final = ("A plain paragraph of text.", "And another one, with the number 42.")


def files() -> dict[str, bytes]:
    """Name and content of each."""
    pdf, docx = writing.pdf(PARTS * 40), writing.docx(PARTS)
    draw = random.Random(SEED)
    return {
        "empty.pdf": b"",
        "cut.pdf": pdf[: len(pdf) // 2],
        "noise.pdf": b"%PDF-1.7\n" + draw.randbytes(50_000),
        "no_xref.pdf": pdf[: pdf.rindex(b"xref\n0")],
        "itself.pdf": pdf.replace(b"/Kids [4 0 R", b"/Kids [2 0 R"),
        "fuzzed.pdf": _fuzzed(pdf, draw),
        "bomb.pdf": _pdf_bomb(),
        "cut.docx": docx[: len(docx) // 2],
        "bomb.docx": _zip_bomb(),
        "hollow.docx": docx.replace(b"word/document.xml", b"word/document.xmk"),
        "entities.docx": _entities(),
        "deep.html": b"<div>" * DEEP + b"x" + b"</div>" * DEEP,
        "deep.json": b"[" * DEEP + b"]" * DEEP,
        "unclosed.html": b"<table><tr><td>" + b"<b" * 50_000,
        "huge.png": _png(60_000, 60_000),
        "cut.png": _png(800, 800)[:200],
        "noise.jpg": b"\xff\xd8\xff\xe0" + draw.randbytes(20_000),
        "noise.txt": draw.randbytes(100_000),
        "nul.txt": b"Some text\x00 and more\x00 of it.\n" * 100,
        "ragged.csv": b'a,b,c\n1,2\n"3,4\n5,6,7,8,9\n' * 50,
        "cut.eml": b"From: one@example.com\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/pl",
        "program.txt": b"\x7fELF" + draw.randbytes(5_000),
        "cut.gz": gzip.compress(b"text" * 1000)[:30],
        "pretends.pdf": docx,
    }


def _fuzzed(data: bytes, draw: random.Random) -> bytes:
    """The same with a hundred bytes changed."""
    found = bytearray(data)
    for _ in range(100):
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


def _pdf_bomb() -> bytes:
    """One page whose content unpacks to hundreds of megabytes, packed twice."""
    packed = zlib.compress(zlib.compress(b" " * BOMB_BYTES, 9), 9)
    good = writing.pdf(PARTS)
    start, end = good.index(b"<< /Filter"), good.index(b"\nendstream")
    stream = b"<< /Filter [/FlateDecode /FlateDecode] /Length %d >>\nstream\n%s" % (len(packed), packed)
    return good[:start] + stream + good[end:]


def _zip_bomb() -> bytes:
    """A document whose text unpacks to hundreds of megabytes."""
    buffer = io.BytesIO(writing.docx([]))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as file, file.open("word/media/big.xml", "w") as member:
        for _ in range(BOMB_BYTES // 2**20):
            member.write(b" " * 2**20)
    return buffer.getvalue()


def _entities() -> bytes:
    """Entities that grow tenfold at each of nine levels."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e0 "ha">{levels}]>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(writing.docx(["@@"]))) as given, zipfile.ZipFile(buffer, "w") as made:
        for name in given.namelist():
            text = given.read(name).decode()
            if name == "word/document.xml":
                text = head + text.partition("?>")[2].replace("@@", "&e9;")
            made.writestr(name, text)
    return buffer.getvalue()


def _png(width: int, height: int) -> bytes:
    """A white picture, whose rows are there only as far as a megabyte reaches."""
    rows = (b"\0" + b"\xff" * width) * min(height, 2**20 // (width + 1))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]  # fmt: skip
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data
