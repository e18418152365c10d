"""Listing a bucket past keys that obstore cannot read: one of those has it refuse a whole page of the listing.

A key with an empty part, `.`, `..` or a control character fails the up to 1,000 keys that are listed with it. What can be
read of them is then listed folder by folder, and what cannot be reached is told in the place of the key.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.documents.lines import Unfit

LISTED_AT_ONCE: Final = 1_000
_TOLD: Final = re.compile(r'\bpath: "((?:[^"\\]|\\.)*)"')
"""The key in the text of obstore's error, as Rust writes a string."""
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))", re.DOTALL)
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MOST_BAD: Final = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was listed."""

    key: str
    size: int
    tag: str | None


@dataclass(frozen=True, slots=True)
class BadKey:
    """A key that obstore cannot read, with what that means for those around it."""

    key: str
    unfit: Unfit


def is_key(key: str) -> bool:
    """Whether obstore reads a key."""
    return not _CONTROL.search(key) and not any(part in {"", ".", ".."} for part in key.split("/"))


class Objects:
    """Lists the objects of a store."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._bad = 0

    def below(self, prefix: str) -> Iterator[Seen | BadKey]:
        """The object of that key, and all objects below it, in the order of their keys. Raises what obstore raises."""
        if prefix and (one := self._one(prefix)):
            yield one
        yield from self._flat(prefix, "")

    def _flat(self, prefix: str, after: str) -> Iterator[Seen | BadKey]:
        """All objects below a prefix behind a key, a page at a time; with a step aside where a page is refused."""
        import obstore
        from obstore.exceptions import InvalidPathError

        going_on: str | None = after
        while going_on is not None:
            last, bad = going_on, ""
            try:
                for page in obstore.list(self._store, prefix or None, offset=last or None, chunk_size=LISTED_AT_ONCE):
                    for found in page:
                        last = found["path"]
                        if not self._is_folder(found):
                            yield _seen(found)
                return
            except InvalidPathError as error:
                bad = _key_in(error)
            going_on = yield from self._around(prefix, last, bad)

    def _around(self, prefix: str, after: str, bad: str) -> Generator[Seen | BadKey, None, str | None]:
        """The objects and folders of one folder, each listed for itself; where it is the one with the bad key, that key.

        Returns behind which key to go on, or None where nothing is left.
        """
        import obstore
        from obstore.exceptions import InvalidPathError

        try:
            level = obstore.list_with_delimiter(self._store, prefix or None)
        except InvalidPathError:
            return (yield from self._past(prefix, after, bad))
        here: list[tuple[str, Any]] = [(found["path"], found) for found in level["objects"]]
        here += [(f"{folder}/", None) for folder in level["common_prefixes"]]
        for key, found in sorted(here, key=lambda one: one[0]):
            if found is None and key >= after[: len(key)]:
                yield from self._flat(key.rstrip("/"), after if after.startswith(key) else "")
            elif found is not None and key > after and not self._is_folder(found):
                yield _seen(found)
        return None

    def _past(self, prefix: str, after: str, bad: str) -> Generator[Seen | BadKey, None, str]:
        """The bad key, and what is named as the place to go on behind where there is such an object; returns that place."""
        self._bad += 1
        beyond = _beyond(bad, prefix)
        if not beyond > after or self._bad > _MOST_BAD:
            message = "Keys of the bucket cannot be read. Rename them, or copy the objects to a folder."
            raise Unfit("unreadable_file", message)
        yield BadKey(bad, _told(prefix))
        if one := self._one(beyond):
            yield one
        return beyond

    def _one(self, key: str) -> Seen | None:
        import obstore

        try:
            return _seen(obstore.head(self._store, key))
        except FileNotFoundError:
            return None

    def _is_folder(self, found: Any) -> bool:
        """Whether it only marks a folder: an empty object whose key ends with a slash, which obstore leaves out."""
        return not found["size"] and self._one(found["path"]) is None


def _seen(found: Any) -> Seen:
    return Seen(found["path"], found["size"], found["e_tag"])


def _told(prefix: str) -> Unfit:
    where = f"in {prefix[:200]!r}" if prefix else "at the top of the bucket"
    return Unfit(
        "unreadable_file",
        "Its key has an empty part, `.`, `..` or a control character: it and those like it are not read, and objects shortly "
        f"before it {where} may be missing as well. Rename it.",
    )


def _key_in(error: Exception) -> str:
    """The key that an error is about; empty where it does not tell."""
    told = _TOLD.search(str(error))
    return _ESCAPE.sub(_unescaped, told[1]) if told else ""


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1]:
        code = int(escape[1], 16)
        return chr(code) if code <= 0x10FFFF else ""
    return _LETTERS.get(escape[2], escape[2])


def _beyond(bad: str, prefix: str) -> str:
    """A key that can be read, with nothing between it and the last of those that are bad for the same reason; empty for none."""
    start = f"{prefix}/" if prefix else ""
    if not bad.startswith(start):
        return ""
    parts = bad[len(start) :].split("/")
    for place, part in enumerate(parts):
        before = start + "".join(f"{one}/" for one in parts[:place])
        if control := _CONTROL.search(part):
            return before + part[: control.start()] + (" " if control[0] < " " else "\x80")
        if part in {"", ".", ".."}:
            return f"{before}{part}0"  # "0" follows "/"
    return ""
