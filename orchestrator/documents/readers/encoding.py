"""Bytes as text, whatever encoding they are in."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

from orchestrator.documents.readers.alphabets import FREQUENT, WEIGHED, familiar, weight
from orchestrator.documents.reading import Unreadable

SAMPLE_BYTES: Final = 16 * 1024
"""Of a text in an old encoding, by which that is told."""
MOST_UNSEEN: Final = 0.02
"""The share of control characters above which bytes are no text."""
SOME_KANA: Final = 10
"""At least one character in so many is kana in Japanese, and none elsewhere."""
MULTIBYTE: Final = ("cp932", "euc_jp", "gb18030", "big5", "cp949")

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_UNSEEN: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_ALONE: Final = re.compile(rb"(?<=[A-Za-z])[\x80-\xff](?=[A-Za-z])")
"""A letter between letters of ASCII: as Western languages have them."""
_KANA: Final = re.compile("[\u3041-\u30ff]")
_HALF_KANA: Final = re.compile("[\uff61-\uff9f]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, and how it was read."""

    text: str
    encoding: str
    lossy: bool = False
    """Some bytes meant nothing in it, and stand as U+FFFD."""

    @property
    def note(self) -> str:
        """What the caller should know of it; empty where there was no doubt."""
        if self.lossy:
            return f"Some bytes are no valid {self.encoding}, and stand as U+FFFD."
        return "" if self.encoding.startswith("utf-") else f"Read as {self.encoding}, by the look of it."


def decoded(data: bytes, hint: str = "") -> Decoded:
    """Bytes as text; `hint` is an encoding that the document names, and is taken where it fits. Never fails."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return _strictly(data[len(bom) :], encoding) or _leniently(data[len(bom) :], encoding)
    if wide := _wide(data):
        return _strictly(data, wide) or _leniently(data, wide)
    if b"\x1b$" in data[:SAMPLE_BYTES] and (japanese := _strictly(data, "iso2022_jp")):
        return japanese
    hinted = _codec(hint)
    if hinted.startswith(("utf-16", "utf-32", "utf-7")):  # it would have been told by now; bytes of any text fit these
        hinted = ""
    if hinted and hinted not in {"utf-8", "ascii"} and (read := _strictly(data, hinted)):
        return Decoded(read.text, "utf-8" if hinted == "utf-8" else hinted)
    if read := _strictly(data, "utf-8"):
        return read
    if hinted == "utf-8" or _is_nearly_utf8(data):
        return _leniently(data, "utf-8")
    guess = hinted if hinted and hinted != "ascii" else _guessed(_sample(data))
    return _strictly(data, guess) or _leniently(data, guess)


def text_of(data: bytes, hint: str = "") -> Decoded:
    """Bytes as text; raises Unreadable for what is binary, or has nothing in it."""
    read = decoded(data, hint)
    if not read.text.strip("\0 \t\r\n\f\ufeff"):
        raise Unreadable("empty_file", "The file is empty. Give it some content, or leave it out.")
    sample = read.text[:SAMPLE_BYTES]
    if len(_UNSEEN.findall(sample)) > MOST_UNSEEN * len(sample) + 4:
        raise Unreadable("unsupported_file", "The file is binary, not text. Convert it to PDF or to a text in UTF-8.")
    return read


def _codec(name: str) -> str:
    """The codec for a name as documents give it; of the Western ones the one that is meant, as browsers have it."""
    try:
        found = codecs.lookup(name.strip().strip("\"'"))
    except (LookupError, ValueError):
        return ""
    known = {"iso8859-1": "cp1252", "ascii": "ascii", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030"}
    known |= {"shift_jis": "cp932", "euc_kr": "cp949"}
    is_text = getattr(found, "_is_text_encoding", True) and found.name not in {"idna", "punycode", "unicode-escape"}
    return known.get(found.name, found.name) if is_text and found.name != "raw-unicode-escape" else ""


def _strictly(data: bytes, encoding: str) -> Decoded | None:
    try:
        return Decoded(data.decode(encoding), encoding)
    except (UnicodeError, ValueError, LookupError):
        return None


def _leniently(data: bytes, encoding: str) -> Decoded:
    return Decoded(data.decode(encoding, "replace"), encoding, lossy=True)


def _wide(data: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, told by where the zeros of its ASCII stand; empty where it is neither."""
    sample = data[:4096]
    if len(sample) < 4 or b"\0" not in sample:
        return ""
    zeros = [sample[place::4].count(0) / max(len(sample[place::4]), 1) for place in range(4)]
    if len(data) % 4 == 0 and min(zeros[1:]) > 0.7 > zeros[0]:
        return "utf-32-le"
    if len(data) % 4 == 0 and min(zeros[:3]) > 0.7 > zeros[3]:
        return "utf-32-be"
    even, odd = sample[::2].count(0) / len(sample[::2]), sample[1::2].count(0) / len(sample[1::2])
    if len(data) % 2 == 0 and odd > 0.15 and even < 0.02:
        return "utf-16-le"
    return "utf-16-be" if len(data) % 2 == 0 and even > 0.15 and odd < 0.02 else ""


def _is_nearly_utf8(data: bytes) -> bool:
    """Whether it is UTF-8 with a few broken bytes, such as one that was cut."""
    high = sum(byte >= 0x80 for byte in data[:SAMPLE_BYTES])
    broken = data[:SAMPLE_BYTES].decode("utf-8", "replace").count("\ufffd")
    return high > 0 and broken * 10 < high


def _sample(data: bytes) -> bytes:
    """The beginning of a long text, cut where no character is cut."""
    if len(data) <= SAMPLE_BYTES:
        return data
    cut = data[:SAMPLE_BYTES]
    return cut.rpartition(b"\n")[0] or cut.rpartition(b" ")[0] or cut


def _guessed(sample: bytes) -> str:
    """The old encoding of a text in one.

    charset-normalizer knows whether it is one of several bytes a character. Within both families it often takes a neighbour (Polish for
    French, Korean for Chinese), so that the letters of languages decide there.
    """
    from charset_normalizer import from_bytes  # only such texts need it

    best = from_bytes(sample, cp_isolation=[*MULTIBYTE, *WEIGHED], threshold=0.4).best()
    alone = len(_ALONE.findall(sample)) * 2 > sum(byte >= 0x80 for byte in sample)
    if best is not None and best.encoding in MULTIBYTE and not alone and not _is_half_kana(sample, best.encoding):
        return best.encoding if best.encoding == "cp932" else _east_asian(sample, best.encoding)
    return max(WEIGHED, key=lambda encoding: weight(sample.decode(encoding, "replace")))


def _east_asian(sample: bytes, guess: str) -> str:
    """Which encoding of several bytes it is: they give characters to the same bytes, and the frequent ones tell."""
    japanese = _strictly(sample, "euc_jp")
    if japanese and len(_KANA.findall(japanese.text)) * SOME_KANA > sum(not one.isascii() for one in japanese.text):
        return "euc_jp"
    read = {encoding: found.text for encoding in FREQUENT if (found := _strictly(sample, encoding))}
    return max(read, key=lambda encoding: familiar(read[encoding], encoding), default=guess)


def _is_half_kana(sample: bytes, encoding: str) -> bool:
    """Whether most of it would be half-width kana, a single byte each: hardly anybody writes so, and any Western text can be read so."""
    text = sample.decode(encoding, "replace")
    high = sum(not character.isascii() for character in text)
    return len(_HALF_KANA.findall(text)) * 2 > high
