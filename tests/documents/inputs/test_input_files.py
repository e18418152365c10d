"""Files, folders, archives among them, and standard input: each document is one input, named where it lies."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from orchestrator.documents.inputs import Wanted, inputs_of
from tests.documents.inputs.taken import MIB, taken, tarred, why, zipped


def test_a_file_a_folder_and_a_link_that_is_named_itself_are_taken(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/b.txt").write_bytes(b"two")
    (tmp_path / "in/deep/a.txt").write_bytes(b"one")
    (tmp_path / "in/c").symlink_to(tmp_path / "in/b.txt")
    assert taken(tmp_path / "in", spool) == [("b.txt", b"two"), ("c", "not_a_file"), ("deep/a.txt", b"one")]
    assert taken(tmp_path / "in/b.txt", spool) == [("b.txt", b"two")]
    assert taken(tmp_path / "in/c", spool) == [("c", b"two")]


def test_the_files_in_archives_are_documents_named_below_them(tmp_path: Path, spool: Path) -> None:
    inner = zipped({"deep.txt": b"deep"})
    (tmp_path / "a.zip").write_bytes(zipped({"in/x.txt": b"x", "empty.txt": b"", "inner.zip": inner}))
    (tmp_path / "b.tar").write_bytes(tarred({"y.txt": b"y"}))
    (tmp_path / "c.txt").write_bytes(b"plain")
    expected = [("a.zip/in/x.txt", b"x"), ("a.zip/empty.txt", "empty_file"), ("a.zip/inner.zip/deep.txt", b"deep")]
    assert taken(tmp_path, spool) == [*expected, ("b.tar/y.txt", b"y"), ("c.txt", b"plain")]
    assert taken(tmp_path / "a.zip", spool) == expected


def test_a_document_that_is_a_zip_itself_is_no_archive(tmp_path: Path, spool: Path) -> None:
    document = zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w/>"})
    (tmp_path / "a.docx").write_bytes(document)
    assert taken(tmp_path, spool) == [("a.docx", document)]


def test_a_broken_archive_is_one_input_that_says_so_and_stops_no_other(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"x.txt": b"x" * 1000})[:60])
    (tmp_path / "b.txt").write_bytes(b"b")
    assert taken(tmp_path, spool) == [("a.zip", "unreadable_file"), ("b.txt", b"b")]


def test_what_cannot_be_opened_stops_no_other(tmp_path: Path, spool: Path) -> None:
    os.mkfifo(tmp_path / "a")
    (tmp_path / "b.txt").write_bytes(b"b")
    assert taken(tmp_path, spool) == [("a", "not_a_file"), ("b.txt", b"b")]


def test_a11_an_archive_bomb_costs_a_bounded_copy_and_stops_no_other(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"bomb.txt": bytes(300 * MIB), "good.txt": b"good"}))
    (tmp_path / "b.txt").write_bytes(b"b")
    largest = 0
    found = []
    for one in inputs_of(Wanted(str(tmp_path)), spool):
        largest = max(largest, sum(copy.stat().st_size for copy in spool.iterdir()))
        found.append((one.name, one.unfit.row_code if one.unfit else "fits"))
        one.done()
    assert found == [("a.zip/bomb.txt", "file_too_large"), ("a.zip/good.txt", "fits"), ("b.txt", "fits")]
    assert largest < MIB


def test_a11_archives_in_archives_without_end_are_one_error(tmp_path: Path, spool: Path) -> None:
    data = b"end"
    for _ in range(12):
        data = zipped({"a.zip": data})
    (tmp_path / "a.zip").write_bytes(data)
    assert [code for _, code in taken(tmp_path, spool)] == ["unreadable_file"]


def test_a_member_that_is_larger_than_any_document_is_refused_and_its_copy_gone(tmp_path: Path, spool: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("large.bin", os.urandom(65 * MIB))
        file.writestr("small.txt", b"small")
    assert taken(tmp_path / "a.zip", spool) == [("a.zip/large.bin", "file_too_large"), ("a.zip/small.txt", b"small")]


def test_ten_thousand_members_are_ten_thousand_inputs_one_at_a_time(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({f"{number:05}.txt": b"%d" % number for number in range(10_000)}))
    count = 0
    for one in inputs_of(Wanted(str(tmp_path / "a.zip")), spool):
        assert len(list(spool.iterdir())) == 1, "nothing is copied before its turn"
        assert one.name == f"a.zip/{count:05}.txt"
        one.done()
        count += 1
    assert count == 10_000


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\..\\evil.txt", "C:\\evil.txt"]
)
def test_a14_a_members_name_leads_nowhere(name: str, tmp_path: Path, spool: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.zip").write_bytes(zipped({name: b"evil"}))
    (tmp_path / "in/b.tar").write_bytes(tarred({name: b"evil"}))
    before = sorted(tmp_path.rglob("*"))
    for one in inputs_of(Wanted(str(tmp_path / "in")), spool):
        assert ".." not in one.name.split("/")
        assert not one.name.startswith("/")
        assert [copy.name.isdecimal() for copy in spool.iterdir()] == [True], "copies have numbers for names"
        one.done()
    assert sorted(tmp_path.rglob("*")) == before
    assert list(spool.parent.rglob("evil*")) == []


def test_a14_links_in_archives_and_folders_are_never_followed(tmp_path: Path, spool: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.tar").write_bytes(tarred({"link": str(secret), "b.txt": b"b"}))
    (tmp_path / "in/folder").symlink_to(tmp_path)
    assert taken(tmp_path / "in", spool) == [
        ("a.tar/link", "unsupported_file"), ("a.tar/b.txt", b"b"), ("folder", "not_a_file"),
    ]  # fmt: skip


class Pipe(io.RawIOBase):
    """Gives a few bytes at once, as a pipe does, and cannot go back."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece, self._rest = self._rest[: min(size, 7)], self._rest[min(size, 7) :]
        return piece


def test_standard_input_is_one_document_or_an_archive(spool: Path) -> None:
    assert taken("-", spool, stdin=Pipe(b"one document")) == [("stdin", b"one document")]
    assert taken("-", spool, stdin=Pipe(zipped({"a.txt": b"a", "b.txt": b"b"}))) == [
        ("stdin/a.txt", b"a"), ("stdin/b.txt", b"b"),
    ]  # fmt: skip
    assert taken("-", spool, stdin=Pipe(b"")) == [("stdin", "empty_file")]


def test_a11_standard_input_without_end_is_cut_off_and_refused(spool: Path) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"x" * size

    endless = Endless()
    assert taken("-", spool, stdin=endless) == [("stdin", "file_too_large")]
    assert endless.given < 65 * MIB


def test_standard_input_that_breaks_says_so(spool: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    assert taken("-", spool, stdin=Broken()) == [("stdin", "unreadable_file")]


def test_a_spool_without_room_costs_the_document_and_says_what_to_do(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"a"}))
    (tmp_path / "b.txt").write_bytes(b"b")
    gone = spool / "gone"
    (message,) = why(tmp_path, gone)
    assert "TMPDIR" in message


def test_copies_of_others_in_the_spool_are_left_alone(tmp_path: Path, spool: Path) -> None:
    (spool / "1").write_bytes(b"another's")
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"a"}))
    (one,) = inputs_of(Wanted(str(tmp_path / "a.zip")), spool)
    with one.open() as stream:
        assert stream.read() == b"a"
    one.done()
    assert [copy.read_bytes() for copy in spool.iterdir()] == [b"another's"]
