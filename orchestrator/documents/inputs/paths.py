"""Files and folders as documents, with what is in the archives among them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from orchestrator.documents.files import Found, open_regular, walk
from orchestrator.documents.inputs.document import Input, refused
from orchestrator.documents.inputs.packed import is_archive, unpacked
from orchestrator.documents.inputs.spool import Spool, drop, kept
from orchestrator.documents.lines import Unfit


def from_path(path: Path, spool: Spool) -> Iterator[Input]:
    """Every document of a file, or of a folder and all below it, by name."""
    if not path.is_dir():
        yield from from_file(path, path.name, spool, follow=True)
        return
    yield from from_found(walk(path), spool)


def from_found(found: Iterator[Found], spool: Spool) -> Iterator[Input]:
    """The documents of what was found in a folder."""
    for one in found:
        if one.unfit is not None:
            yield refused(one.name, one.unfit)
        else:
            yield from from_file(one.path, one.name, spool, follow=False)


def from_file(path: Path, name: str, spool: Spool, *, follow: bool) -> Iterator[Input]:
    """A file, or the files in it where it is an archive. `follow` says whether a link is followed: only what was named itself."""
    try:
        with open_regular(path, follow=follow) as stream:
            holds_others = is_archive(stream)
        if holds_others:
            with open_regular(path, follow=follow) as stream:
                yield from unpacked(stream, name, spool)
            return
    except Unfit as unfit:
        yield refused(name, unfit)
        return
    yield Input(name, partial(open_regular, path, follow=follow))


def from_copy(path: Path, name: str, spool: Spool) -> Iterator[Input]:
    """What a copy is, or what is in it; the copy of an archive goes when the last of its files was copied."""
    with open_regular(path, follow=False) as stream:
        holds_others = is_archive(stream)
    if not holds_others:
        yield kept(name, path)
        return
    try:
        yield from from_file(path, name, spool, follow=False)
    finally:
        drop(path)
