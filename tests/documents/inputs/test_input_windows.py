"""Copies of documents: few at once on the disk, gone when their row is made, whatever becomes of it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence, Set
from pathlib import Path
from typing import BinaryIO

import pytest

from orchestrator.documents import work
from orchestrator.documents.inputs import Input, Wanted, inputs_of
from orchestrator.documents.lines import Unfit
from orchestrator.documents.reading import Block, Limits, Page, Reading, Unreadable
from orchestrator.documents.work import Documents

KIB = 1024


class Reader:
    """Reads whatever it is given, and notes how much lies in the spool meanwhile."""

    def __init__(self, spool: Path) -> None:
        self.spool, self.most_bytes, self.most_copies = spool, 0, 0

    def look(self) -> None:
        sizes = []
        for copy in self.spool.iterdir():
            try:
                sizes.append(copy.stat().st_size)
            except FileNotFoundError:  # its row was made just now
                continue
        self.most_bytes, self.most_copies = max(self.most_bytes, sum(sizes)), max(self.most_copies, len(sizes))

    def read(self, stream: BinaryIO, name: str, limits: Limits) -> Reading:
        self.look()
        if stream.read(3) == b"bad":
            raise Unreadable("unreadable_file", "It is broken. Mend it.")
        return Reading("text", (Page(1, (Block("words"),)),))

    def render(self, stream: BinaryIO, pages: Sequence[int], limits: Limits) -> list[bytes]:
        raise AssertionError(pages)


def archive(path: Path, count: int, size: int) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number in range(count):
            file.writestr(f"{number:04}.txt", (b"bad" if number % 7 == 3 else b"") + os.urandom(size))
    return path


def test_a11_large_members_are_hashed_in_small_windows_and_their_copies_go(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WINDOW_BYTES", 1024 * KIB)
    reader, windows = Reader(spool), []

    def ask(hashes: Sequence[str]) -> Set[str]:
        windows.append(len(hashes))
        reader.look()
        return set(hashes[:2])

    documents = Documents(reader, 2, ask)
    place = Wanted(str(archive(tmp_path / "a.zip", 100, 200 * KIB)))
    lines = [json.loads(line) for line in documents.lines(inputs_of(place, spool))]
    assert [line["custom_id"] for line in lines] == [f"a.zip/{number:04}.txt" for number in range(100)]
    assert sum(windows) == 100
    assert max(windows) <= 6 + work.HASHED_AHEAD * 2
    assert len(windows) >= 10
    assert (documents.counts.found, documents.counts.reused) == (100, 2 * len(windows))
    assert documents.counts.refused > 0
    assert 0 < reader.most_bytes <= 3 * 1024 * KIB
    assert list(spool.iterdir()) == []


def test_small_members_are_asked_about_hundreds_at_once(tmp_path: Path, spool: Path) -> None:
    windows = []

    def ask(hashes: Sequence[str]) -> Set[str]:
        windows.append(len(hashes))
        return set()

    place = Wanted(str(archive(tmp_path / "a.zip", 1_100, 5)))
    assert sum(1 for _ in Documents(Reader(spool), 2, ask).lines(inputs_of(place, spool))) == 1_100
    assert windows == [500, 500, 100]
    assert list(spool.iterdir()) == []


def test_a_copy_goes_whether_its_document_is_read_refused_known_or_cannot_be_opened(
    spool: Path, tmp_path: Path
) -> None:
    gone: list[str] = []

    def one(name: str, content: bytes | Unfit) -> Input:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)

        def opens() -> BinaryIO:
            if isinstance(content, Unfit):
                raise content
            return path.open("rb")

        return Input(name, opens, done=lambda: gone.append(name))

    inputs = [
        one("read", b"words"), one("broken", b"bad"), one("empty", b""), one("known", b"known"),
        one("away", Unfit("unreadable_file", "It is away. Wait.")),
    ]  # fmt: skip
    documents = Documents(Reader(spool), 2, lambda hashes: set(hashes[-1:]))
    lines = [json.loads(line) for line in documents.lines(iter(inputs))]
    assert sorted(gone) == ["away", "broken", "empty", "known", "read"]
    assert ["error" in line for line in lines] == [False, True, True, False, True]
