"""A small writer of PDFs for tests: pages with text at places in the standard fonts, lines, pictures, fields, and any broken byte besides.

Places are in points from the upper left corner of the page, y down to the baseline, as a reader of the page would say them.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

FONTS = {"body": "Helvetica", "bold": "Helvetica-Bold", "mono": "Courier", "symbol": "Symbol"}
WIDTH, HEIGHT = 595, 842


@dataclass
class Sheet:
    """One page to be written."""

    wide: float = WIDTH
    high: float = HEIGHT
    rotate: int = 0
    drawn: list[bytes] = field(default_factory=list)
    annotations: list[bytes] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    fonts: dict[str, bytes] = field(default_factory=dict)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 10,
        font: str = "body",
        turn: str = "1 0 0 1",
        mode: int = 0,
    ) -> Sheet:
        """Put a text; `turn` is the upper part of its matrix, and mode 3 makes it invisible."""
        content = text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        place = f"/{font} {size} Tf {mode} Tr {turn} {x:.2f} {self.high - y:.2f} Tm".encode()
        self.drawn.append(b"BT " + place + b" (" + content + b") Tj ET")
        return self

    def lines(
        self, x: float, y: float, lines: str, *, size: float = 10, pitch: float = 12, font: str = "body"
    ) -> Sheet:
        """Put lines one under the other."""
        for index, line in enumerate(lines.splitlines()):
            self.text(x, y + index * pitch, line, size=size, font=font)
        return self

    def line(self, x0: float, y0: float, x1: float, y1: float) -> Sheet:
        """Draw a straight line."""
        self.drawn.append(f"{x0} {self.high - y0} m {x1} {self.high - y1} l S".encode())
        return self

    def grid(self, xs: list[float], ys: list[float]) -> Sheet:
        """Rule a table."""
        for x in xs:
            self.line(x, ys[0], x, ys[-1])
        for y in ys:
            self.line(xs[0], y, xs[-1], y)
        return self

    def picture(self, left: float, top: float, right: float, bottom: float, image: bytes) -> Sheet:
        """Put a picture, given as a whole object: see `picture_of`."""
        name = f"Im{len(self.pictures)}"
        self.pictures[name] = image
        self.drawn.append(f"q {right - left} 0 0 {bottom - top} {left} {self.high - bottom} cm /{name} Do Q".encode())
        return self

    def annotate(self, left: float, top: float, right: float, bottom: float, rest: str) -> Sheet:
        """Pin an annotation, such as a field, with the rest of its dictionary; `{look}` in it stands for an empty picture's number."""
        rect = f"/Rect [{left} {self.high - bottom} {right} {self.high - top}]"
        self.annotations.append(f"<< /Type /Annot {rect} {rest} >>".encode())
        return self


def stream(content: bytes, entries: str = "", *, packed: bool = False) -> bytes:
    """A stream as an object."""
    if packed:
        content, entries = zlib.compress(content), f"{entries} /Filter /FlateDecode"
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def picture_of(wide: int, high: int, gray: bytes) -> bytes:
    """A picture in shades of gray as an object."""
    entries = f"/Type /XObject /Subtype /Image /Width {wide} /Height {high} /ColorSpace /DeviceGray /BitsPerComponent 8"
    return stream(gray, entries, packed=True)


class Writer:
    """Objects of a PDF, numbered as they come."""

    def __init__(self) -> None:
        self.objects: list[bytes] = []

    def add(self, content: bytes) -> int:
        """Add an object and tell its number."""
        self.objects.append(content)
        return len(self.objects)

    def written(self, root: int, *, info: int = 0, password: str | None = None, trailer: bytes = b"") -> bytes:
        """The file; with a password, locked with RC4 of 40 bits, which needs nothing that Python has not."""
        objects, ending = self.objects, trailer
        if password is not None:
            key, owner, user = _keys(password)
            objects = [_locked(content, number, key) for number, content in enumerate(objects, 1)]
            ending += b" /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<41> <41>]" % (
                owner.hex().encode(), user.hex().encode(),
            )  # fmt: skip
        out = bytearray(b"%PDF-1.7\n")
        places = []
        for number, content in enumerate(objects, 1):
            places.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
        at = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
        out += b"".join(b"%010d 00000 n \n" % place for place in places)
        extra = b" /Info %d 0 R" % info if info else b""
        out += b"trailer << /Size %d /Root %d 0 R%s%s >>\nstartxref\n%d\n%%%%EOF\n" % (
            len(objects) + 1,
            root,
            extra,
            ending,
            at,
        )
        return bytes(out)


def pdf(
    *sheets: Sheet, title: str = "", password: str | None = None, files: dict[str, bytes] | None = None, form: bool = False,
    catalog: str = "", count: int | None = None, packed: bool = False,
) -> bytes:  # fmt: skip
    """A PDF of these pages; `files` lie in it, `form` makes its widgets fields, `catalog` is added to its root, `count` lies about its pages."""
    writer = Writer()
    fonts = {
        name: writer.add(
            f"<< /Type /Font /Subtype /Type1 /BaseFont /{base} {'' if name == 'symbol' else '/Encoding /WinAnsiEncoding'} >>".encode()
        )
        for name, base in FONTS.items()
    }
    pages = writer.add(b"")
    kids, fields = [], []
    for sheet in sheets:
        own = fonts | {name: writer.add(content) for name, content in sheet.fonts.items()}
        images = {name: writer.add(content) for name, content in sheet.pictures.items()}
        look = b"%d 0 R" % writer.add(stream(b"", "/Type /XObject /Subtype /Form /BBox [0 0 9 9]"))
        notes = [writer.add(content.replace(b"{look}", look)) for content in sheet.annotations]
        fields += notes if form else []
        content = writer.add(stream(b"\n".join(sheet.drawn), packed=packed))
        kids.append(writer.add(
            f"<< /Type /Page /Parent {pages} 0 R /MediaBox [0 0 {sheet.wide} {sheet.high}] /Rotate {sheet.rotate} "
            f"/Resources << /Font << {_named(own)} >> /XObject << {_named(images)} >> >> "
            f"/Annots [{_listed(notes)}] /Contents {content} 0 R >>".encode()
        ))  # fmt: skip
    writer.objects[pages - 1] = (
        f"<< /Type /Pages /Kids [{_listed(kids)}] /Count {len(kids) if count is None else count} >>".encode()
    )
    root = catalog
    if form:
        root += f" /AcroForm << /Fields [{_listed(fields)}] /DR << /Font << {_named(fonts)} >> >> >>"
    if files:
        specs = []
        for name, content in files.items():
            lying = writer.add(stream(content, f"/Type /EmbeddedFile /Params << /Size {len(content)} >>"))
            specs.append(
                f"({name}) {writer.add(f'<< /Type /Filespec /F ({name}) /UF ({name}) /EF << /F {lying} 0 R >> >>'.encode())} 0 R"
            )
        root += f" /Names << /EmbeddedFiles << /Names [{' '.join(specs)}] >> >>"
    info = writer.add(f"<< /Title ({title}) >>".encode()) if title else 0
    return writer.written(
        writer.add(f"<< /Type /Catalog /Pages {pages} 0 R {root} >>".encode()), info=info, password=password
    )


def _named(numbers: dict[str, int]) -> str:
    return " ".join(f"/{name} {number} 0 R" for name, number in numbers.items())


def _listed(numbers: list[int]) -> str:
    return " ".join(f"{number} 0 R" for number in numbers)


_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def _keys(password: str) -> tuple[bytes, bytes, bytes]:
    """The key, and what the file says of the owner's and the user's password (PDF 1.7, 7.6.3, revision 2)."""
    padded = (password.encode() + _PADDING)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + (-4).to_bytes(4, "little", signed=True) + b"\x41").digest()[:5]
    return key, owner, _rc4(key, _PADDING)


def _locked(content: bytes, number: int, key: bytes) -> bytes:
    """An object with its stream locked; our objects have no strings that matter."""
    head, mark, rest = content.partition(b"stream\n")
    if not mark:
        return content
    own = hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10]
    return head + mark + _rc4(own, rest.removesuffix(b"\nendstream")) + b"\nendstream"


def _rc4(key: bytes, content: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in content:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
