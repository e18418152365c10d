"""The files in an archive as documents: each member is copied when its turn comes, and its copy goes when it was read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from orchestrator.documents.inputs.document import Input, refused
from orchestrator.documents.inputs.spool import Spool, kept
from orchestrator.documents.lines import Unfit
from orchestrator.documents.packed.archives import Member, archive_kind, members
from orchestrator.documents.packed.unpacking import CHUNK_BYTES
from orchestrator.documents.reading import Unreadable


def is_archive(stream: BinaryIO) -> bool:
    """Whether an open file holds others; a DOCX is no archive, nor is what cannot be read."""
    try:
        return archive_kind(stream) is not None
    except OSError:
        return False


def unpacked(stream: BinaryIO, name: str, spool: Spool) -> Iterator[Input]:
    """Every file in an archive, and those in archives in it, named below the archive; a broken one says so as its last."""
    try:
        for member in members(stream, name):
            yield _copied(member, spool)
    except Unreadable as problem:
        yield refused(name, Unfit(problem.code, problem.message))


def _copied(member: Member, spool: Spool) -> Input:
    try:
        if member.problem is not None or member.stream is None:
            raise member.problem or Unreadable("unreadable_file", "It has no content. Make the archive anew.")
        return kept(member.name, spool.keep(_pieces(member.stream)))
    except Unreadable as problem:
        return refused(member.name, Unfit(problem.code, problem.message))
    except Unfit as unfit:
        return refused(member.name, unfit)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            piece = stream.read(CHUNK_BYTES)
        except OSError as error:
            raise Unreadable(
                "unreadable_file", f"The archive cannot be read: {error.strerror}. Check the disk."
            ) from None
        if not piece:
            return
        yield piece
