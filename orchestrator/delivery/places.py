"""From the name of a document to where its files go in a folder: never out of it, and a name that every file system takes. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

MOST_NAME_BYTES: Final = 160
"""Of one part of a path: with our endings and a number it stays under the 255 that file systems have."""
MOST_PATH_BYTES: Final = 800
MOST_FOLDERS: Final = 24
RESERVED: Final = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"),
    }
)
"""Devices on Windows, whatever ending follows."""
FOLDER_ENDINGS: Final = (".json", ".md")
"""A folder with such an ending could stand where a file of ours goes."""
NAME_ENDINGS: Final = (".error",)
"""The answer of a document with such a name would go where another's failure goes."""
_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\/]')


def place_of(name: str) -> tuple[str, ...]:
    """The folders and the name under which a document's files go; `..`, roots and drives become mere names.

    A part that is too long is cut and gets a digest of the whole; folders that are too many are left out, with a digest instead.
    """
    parts = [part for part in re.split(r"[\\/]+", unicodedata.normalize("NFC", name)) if part not in {"", "."}]
    folders = [_safe(part, FOLDER_ENDINGS) for part in parts[:-1]]
    if len(folders) > MOST_FOLDERS or sum(len(part.encode()) for part in folders) > MOST_PATH_BYTES:
        folders = [f"deep~{_digest('/'.join(parts[:-1]))}"]
    return (*folders, _safe(parts[-1] if parts else "document", NAME_ENDINGS))


class Places:
    """Gives each document a place of its own: the second that would have another's is numbered.

    Names that differ only by capital letters count as the same, since some file systems see no difference. Keeps 8 bytes for each document, in
    about 80 bytes of memory.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._numbers: dict[int, int] = {}
        """The last number of a place that was wanted more than once."""

    def take(self, name: str) -> tuple[str, ...]:
        """The place of the next document."""
        *folders, last = place_of(name)
        wanted = key = _key(*folders, last)
        number, free = self._numbers.get(wanted, 1), last
        while key in self._taken:
            number += 1
            free = f"{last}~{number}"
            key = _key(*folders, free)
        if free != last:
            self._numbers[wanted] = number
        self._taken.add(key)
        return (*folders, free)


def _safe(part: str, endings: tuple[str, ...]) -> str:
    text = "".join("_" if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} else char for char in part)
    text = _FORBIDDEN.sub("_", text)
    text = "_" * len(text) if not text.strip(". ") else text
    if text[0] in ". ":
        text = f"_{text.lstrip()}"
    if text[-1] in ". ":
        text = f"{text.rstrip('. ')}_"
    stem, dot, ending = text.partition(".")
    if stem.rstrip().casefold() in RESERVED:
        text = f"{stem}_{dot}{ending}"
    if text.casefold().endswith(endings):
        text = f"{text}_"
    return _cut(text, part)


def _cut(text: str, whole: str) -> str:
    told = text.encode()
    if len(told) <= MOST_NAME_BYTES:
        return text
    tail = 20
    head = told[: MOST_NAME_BYTES - tail - 10].decode(errors="ignore")
    return f"{head}~{_digest(whole)}~{told[-tail:].decode(errors='ignore')}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()


def _key(*parts: str) -> int:
    folded = unicodedata.normalize("NFC", "/".join(parts).casefold())
    return int.from_bytes(hashlib.blake2b(folded.encode(), digest_size=8).digest(), "big")
