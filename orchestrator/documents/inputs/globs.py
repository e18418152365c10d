"""Files by a pattern in the shell's form: `*`, `?` and `[...]` within one name, `**` for folders at any depth."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Set
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from orchestrator.documents.files import MAX_DEPTH, MAX_FILES, Found, unreadable, walk
from orchestrator.documents.lines import Unfit
from orchestrator.errors import InvalidRequest, TooLarge

_MAGIC: Final = re.compile(r"[*?\[]")
_ANY_DEPTH: Final = "**"
_MOST_PARTS: Final = 64


def is_pattern(place: str) -> bool:
    """Whether a path has signs that stand for others."""
    return _MAGIC.search(place) is not None


def root_of(place: str) -> Path:
    """The folder below which a pattern looks: its parts before the first that has a sign."""
    return _split(place)[0]


def matching(place: str) -> Iterator[Found]:
    """What a pattern finds, by name below its root, with one listing held at a time; raises InvalidRequest where that is nothing.

    A folder that it finds stands for all files below it. Links are found, and not followed; hidden names only by a pattern that
    begins with a dot, as in a shell.
    """
    root, pattern = _split(place)
    if len(pattern) > _MOST_PARTS:
        raise InvalidRequest(f"The pattern has over {_MOST_PARTS} parts. Name the folder, or shorten the pattern.")
    count = 0
    for count, found in enumerate(_below(root, "", pattern, _closed({0}, pattern), 0), 1):
        if count > MAX_FILES:
            raise TooLarge(f"The pattern finds more than {MAX_FILES:,} files. Submit folders one by one.")
        yield found
    if not count:
        raise InvalidRequest(
            f"{place!r} finds nothing. Check the pattern, and quote it so that the shell leaves it alone."
        )


def _split(place: str) -> tuple[Path, tuple[str, ...]]:
    parts = Path(place).parts
    fixed = next((number for number, part in enumerate(parts) if is_pattern(part)), len(parts))
    return Path(*parts[:fixed]), parts[fixed:]


def _below(folder: Path, prefix: str, pattern: tuple[str, ...], places: Set[int], depth: int) -> Iterator[Found]:
    """What is found in a folder, where the pattern may have come to any of some places: so nothing is found twice."""
    here = prefix.rstrip("/") or "."
    if depth > MAX_DEPTH:
        message = f"Folders are nested over {MAX_DEPTH} deep. Submit this one apart."
        yield Found(folder, here, Unfit("unreadable_file", message))
        return
    try:
        with os.scandir(folder) as entries:
            listing = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError) or depth:
            yield Found(folder, here, unreadable(error, "folder"))
        return
    for name, is_folder, is_link in listing:
        path, shown = folder / name, f"{prefix}{name}"
        following = _closed(_steps(name, pattern, places), pattern)
        is_found = len(pattern) in following
        if is_link:
            if is_found or (following and path.is_dir()):
                message = "It is a link, and links are not followed. Submit what it points to."
                yield Found(path, shown, Unfit("not_a_file", message))
        elif not is_folder:
            if is_found:
                yield Found(path, shown)
        elif is_found:
            for found in walk(path):
                yield Found(found.path, f"{shown}/{found.name}" if found.name != "." else shown, found.unfit)
        elif following:
            yield from _below(path, f"{shown}/", pattern, following, depth + 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # it vanished: opening it will say so
        return False


def _steps(name: str, pattern: tuple[str, ...], places: Set[int]) -> set[int]:
    """Where the pattern comes to by one more name."""
    reached = set()
    for place in places:
        if place == len(pattern):
            continue
        part = pattern[place]
        if name.startswith(".") and not part.startswith("."):
            continue
        if part == _ANY_DEPTH:
            reached.add(place)
        elif fnmatchcase(name, part):
            reached.add(place + 1)
    return reached


def _closed(places: set[int], pattern: tuple[str, ...]) -> set[int]:
    """The places with those behind a `**`, which may stand for no folder at all."""
    for place in sorted(places):
        at = place
        while at < len(pattern) and pattern[at] == _ANY_DEPTH:
            at += 1
            places.add(at)
    return places
