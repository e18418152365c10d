"""A folder that mirrors the names of a batch's documents, with one file for each: its answer, or why there is none.

`inv/1.pdf` has its answer in `inv/1.pdf.json`, or `inv/1.pdf.md` where it is no JSON, or its failure in `inv/1.pdf.error.json`. Names come
from anywhere: every file is opened below the folder, step by step, and no link in it is followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.delivery.answers import Document, Evidence, Line, Result, as_json, result_of
from orchestrator.delivery.places import Places
from orchestrator.errors import Conflict, InvalidRequest

OURS: Final = ".rightsize"
"""A folder at the top of a mirror: by its file `mirror` a later run knows it, and what is being written lies in it until it is whole."""
MARK: Final = "mirror"
SAID: Final = b"A mirror of a batch's results, written by rightsize. Delete it together with the folder.\n"
PART: Final = "part"
ENDINGS: Final = (".json", ".md", ".error.json")
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a run did."""

    documents: int
    failed: int
    """Of the documents: those that have an error file."""
    written: int
    """Files; the others were there already, with the same content."""


def write_mirror(lines: Iterable[Line], folder: str | os.PathLike[str]) -> Mirrored:
    """Write a file for each line below a folder, each whole or not at all; a run that was broken off is simply made again.

    The folder is made if it is not there. One that is not empty, and was not made by a run of this, is refused (Conflict), and so is one that
    another run is at. Raises InvalidRequest where a file cannot be written. What was written is not forced to the disk: after a power cut
    a further run puts it right.
    """
    with ExitStack() as held:
        with _told(folder):
            top, ours = _open(folder, held)
        places = Places()
        documents = failed = written = 0
        for line in lines:
            result = result_of(line)
            *folders, name = places.take(result.document.name)
            ending, content = file_of(result)
            with _told(folder), _entered(top, folders) as inside:
                written += _put(inside, name, ending, content, ours)
            documents += 1
            failed += result.failure is not None
    return Mirrored(documents, failed, written)


def file_of(result: Result) -> tuple[str, bytes]:
    """The ending and the content of a result's file."""
    failure = result.failure
    told = {"custom_id": result.custom_id, "document": _document(result.document)}
    if failure is not None:
        error: dict[str, Any] = {"code": failure.code, "message": failure.message}
        wrong = {"violations": [asdict(one) for one in failure.violations], "raw": failure.raw}
        return ".error.json", _json({**told, "error": error, **_said(wrong), "rightsize": _costs(result)})
    if result.data is None:
        return ".md", (result.text if result.text.endswith("\n") else f"{result.text}\n").encode()
    fields = {pointer: _field(one) for pointer, one in result.fields.items()}
    return ".json", _json({**told, "answer": result.data, **_said({"fields": fields}), "rightsize": _costs(result)})


def _document(document: Document) -> dict[str, Any]:
    return _said(asdict(document))


def _field(one: Evidence) -> dict[str, Any]:
    return {**asdict(one), "review": one.review or None}


def _costs(result: Result) -> dict[str, Any]:
    cost = None if result.cost_usd is None else f"{result.cost_usd:f}"
    said = _said(
        {
            "task": result.task, "task_version": result.task_version, "tier": result.tier, "model": result.model, "rule": result.rule,
            "attempts": result.attempts, "pieces": result.pieces, "cost_usd": cost, "engine_s": result.engine_s,
        }
    )  # fmt: skip
    return {**said, "simulated": result.simulated, "reused": result.reused}


def _said(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value not in (None, "", [], {})}


def _json(value: dict[str, Any]) -> bytes:
    return f"{as_json(value, indented=True)}\n".encode()


@contextmanager
def _told(folder: str | os.PathLike[str]) -> Iterator[None]:
    """What the system refuses, as an error that says what to do."""
    try:
        yield
    except OSError as error:
        where = os.fspath(folder)
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise InvalidRequest(
                f"In {where} a link or a file stands where a folder must be. Remove it, or name another folder."
            ) from error
        remedy = "Make room, or name a folder that you may write to"
        raise InvalidRequest(
            f"Cannot write below {where}: {error.strerror}. {remedy}; the same command goes on."
        ) from error


def _open(folder: str | os.PathLike[str], held: ExitStack) -> tuple[int, int]:
    """The folder and our own in it, as descriptors, known as ours and locked as long as they are held."""
    target = Path(os.path.realpath(folder))
    target.mkdir(parents=True, exist_ok=True)
    top = os.open(target, FOLDER)
    held.callback(os.close, top)
    there = set(os.listdir(top))  # noqa: PTH208 - a descriptor
    others = there - {OURS}
    if others and OURS not in there:
        raise _not_ours(folder)
    ours = held.enter_context(_entered(top, [OURS]))
    mark = os.open(MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=ours)
    held.callback(os.close, mark)
    _lock(mark, folder)
    said = os.read(mark, len(SAID) + 1)
    if said not in {b"", SAID} or (others and not said):
        raise _not_ours(folder)
    if not said:
        os.write(mark, SAID)
    return top, ours


def _not_ours(folder: str | os.PathLike[str]) -> Conflict:
    return Conflict(
        f"The folder {os.fspath(folder)} is not empty and is no mirror of results. Name a new or an empty folder."
    )


def _lock(mark: int, told: str | os.PathLike[str]) -> None:
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            f"Another command writes into {os.fspath(told)} just now. Wait for it, or name another folder."
        ) from None


@contextmanager
def _entered(top: int, folders: list[str]) -> Iterator[int]:
    """A folder below another one, made where it is not there; a link on the way is refused by the system."""
    inside = os.dup(top)
    try:
        for folder in folders:
            try:
                below = os.open(folder, FOLDER, dir_fd=inside)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=inside)
                below = os.open(folder, FOLDER, dir_fd=inside)
            os.close(inside)
            inside = below
        yield inside
    finally:
        os.close(inside)


def _put(inside: int, name: str, ending: str, content: bytes, ours: int) -> bool:
    """Write a file unless it is there with this content; what an earlier run wrote of the document under another ending goes."""
    for other in ENDINGS:
        if other != ending:
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.unlink(f"{name}{other}", dir_fd=inside)
    if _holds(inside, f"{name}{ending}", content):
        return False
    with suppress(FileNotFoundError):
        os.unlink(PART, dir_fd=ours)  # of a run that was broken off
    file = os.open(PART, NEW_FILE, 0o666, dir_fd=ours)
    with open(file, "wb") as part:  # noqa: PTH123 - a descriptor
        part.write(content)
    os.replace(PART, f"{name}{ending}", src_dir_fd=ours, dst_dir_fd=inside)
    return True


def _holds(inside: int, name: str, content: bytes) -> bool:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:  # not there, or a link or socket, which is replaced
            return False
        raise
    with open(file, "rb") as there:  # noqa: PTH123 - a descriptor
        found = os.fstat(there.fileno())
        return stat.S_ISREG(found.st_mode) and found.st_size == len(content) and there.read(len(content) + 1) == content
