"""What is taken of a place: the name of each document, with its bytes or why there are none."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.documents.inputs import Input, Wanted, hashed, inputs_of
from orchestrator.documents.reading import Limits

MIB = 1024 * 1024
Taken = list[tuple[str, bytes | str]]


def content_of(one: Input) -> bytes | str:
    """The bytes of a document, read after it was hashed as they are for a batch; or the code of what is wrong with it."""
    known = hashed(one, Limits().max_bytes)
    try:
        if known.unfit is not None:
            return known.unfit.row_code
        with one.open() as stream:
            return stream.read()
    finally:
        one.done()


def taken(place: Path | str, spool: Path, **how: Any) -> Taken:
    """All documents of a place; no copy of one is left when it was read."""
    get = how.pop("get", None)
    found: Taken = []
    for one in inputs_of(Wanted(str(place), **how), spool, get):
        found.append((one.name, content_of(one)))
    assert list(spool.iterdir()) == [], "no copy is left"
    return found


def why(place: Path | str, spool: Path, **how: Any) -> list[str]:
    """What is said of the documents of a place that cannot be read."""
    get = how.pop("get", None)
    said = []
    for one in inputs_of(Wanted(str(place), **how), spool, get):
        if (unfit := hashed(one, Limits().max_bytes).unfit) is not None:
            said.append(unfit.message)
        one.done()
    return said


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP with files of these names, whatever they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes | str]) -> bytes:
    """A TAR with files of these names; a text is where a link leads to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
