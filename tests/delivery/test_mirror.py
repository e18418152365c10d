"""A folder that mirrors the documents: complete, resumable, and nowhere else (A11)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.delivery.mirror import Mirrored, write_mirror
from orchestrator.delivery.places import MOST_NAME_BYTES, Places, place_of
from orchestrator.errors import Conflict, InvalidRequest
from tests.delivery.lines import failed, invoices, line
from tests.delivery.test_answers import STRANGE


def files_in(folder: Path) -> set[str]:
    """What a mirror holds beside its own mark."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return {name for name in found if not name.startswith(".rightsize/")}


def test_each_document_has_its_file_under_its_own_name(tmp_path: Path) -> None:
    told = {"/total": {"confidence": 0.9, "page": 1, "box": None, "found": True, "review": None}}
    lines = [
        line("inv/1.pdf", '{"total": 12.50}', fields=told),
        line("a/b/notes.docx", "# Title"),
        failed("inv/2.pdf", raw="{"),
    ]
    assert write_mirror(lines, tmp_path / "out") == Mirrored(documents=3, failed=1, written=3)
    assert files_in(tmp_path / "out") == {"inv/1.pdf.json", "a/b/notes.docx.md", "inv/2.pdf.error.json"}
    assert '"total": 12.50' in (tmp_path / "out/inv/1.pdf.json").read_text()
    answer = json.loads((tmp_path / "out/inv/1.pdf.json").read_text())
    assert answer["fields"]["/total"]["confidence"] == 0.9
    assert answer["rightsize"]["cost_usd"] == "0.0125"
    assert (tmp_path / "out/a/b/notes.docx.md").read_text() == "# Title\n"
    error = json.loads((tmp_path / "out/inv/2.pdf.error.json").read_text())
    assert (error["error"]["code"], error["raw"]) == ("unreadable_file", "{")


def test_a_second_run_rewrites_only_what_changed(tmp_path: Path) -> None:
    lines = list(invoices(40))
    assert write_mirror(lines, tmp_path).written == 40
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.json")}
    changed = next(one for one in lines if one["error"] is None)
    changed["rightsize"]["cost_usd"] = "9"
    assert write_mirror(lines, tmp_path) == Mirrored(40, sum(one["error"] is not None for one in lines), written=1)
    assert sum(path.stat().st_ino != inode for path, inode in before.items()) == 1


def test_an_answer_takes_the_place_of_the_failure_of_an_earlier_run(tmp_path: Path) -> None:
    write_mirror([failed("x.pdf")], tmp_path)
    write_mirror([line("x.pdf", {"a": 1})], tmp_path)
    assert files_in(tmp_path) == {"x.pdf.json"}


def test_documents_of_one_name_are_numbered_and_none_is_lost(tmp_path: Path) -> None:
    write_mirror([line("x.pdf", {"n": n}) for n in range(3)] + [line("X.PDF", {"n": 3})], tmp_path)
    assert files_in(tmp_path) == {"x.pdf.json", "x.pdf~2.json", "x.pdf~3.json", "X.PDF~4.json"}


def test_a_name_that_could_be_anothers_failure_or_folder_gives_way(tmp_path: Path) -> None:
    lines = [failed("x"), line("x.error", {"n": 1}), line("y", {"n": 2}), line("y.json/z", {"n": 3})]
    write_mirror(lines, tmp_path)
    assert files_in(tmp_path) == {"x.error.json", "x.error_.json", "y.json", "y.json_/z.json"}


EVIL = [
    "../../etc/passwd", "/etc/passwd", "..", ".", "", "///", "a/../../b", "..\\..\\boot.ini", "C:\\Windows\\x", "\\\\server\\share", "con", "NUL.txt",
    "aux/com1.pdf", "a\0b", "a\nb", "x\u202efdp.exe", ".ssh/authorized_keys", ".rightsize/mirror", ".rightsize", "~root", "-rf", "a.", "a ", " a", "...",
    "x" * 5_000, "ü" * 3_000, "/".join("d" * 200 for _ in range(90)), "\ud800.pdf", "a:b", 'a|b?*<>"', "x.json/y", "x.md/.git/config", "\u2028", "’",
]  # fmt: skip


def test_a11_no_name_leads_out_of_the_folder_and_each_document_has_its_file(tmp_path: Path) -> None:
    write_mirror([line(name, {"name": place}) for place, name in enumerate(EVIL)], tmp_path / "in" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"out"}
    made = files_in(tmp_path / "in/out")
    assert len(made) == len(EVIL)
    assert not any(part.startswith(".") for name in made for part in name.split("/"))
    assert not (tmp_path / "in/out/.rightsize/mirror.json").exists()


@given(STRANGE | st.sampled_from(EVIL))
def test_a11_every_name_becomes_a_place_that_any_file_system_takes(name: str) -> None:
    place = place_of(name)
    assert place
    assert place == place_of("/".join(place))
    for part in place:
        assert part not in {"", ".", ".."}
        assert len(part.encode()) <= MOST_NAME_BYTES + 2
        assert part[0] not in ". "
        assert part[-1] not in ". "
        assert not set(part) & set('/\\:*?"<>|\0')
        assert not {unicodedata.category(char) for char in part} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.lists(st.sampled_from(["a", "A", "a~2", "b/a", "B/a", "é", "e\u0301", "a.error"]), max_size=12))
def test_no_two_documents_share_a_place_even_where_capital_letters_count_for_nothing(names: list[str]) -> None:
    places = Places()
    taken = ["/".join(places.take(name)).casefold() for name in names]
    assert len(set(taken)) == len(names)


def test_ten_thousand_documents_of_one_name_take_no_longer_each() -> None:
    places = Places()
    assert len({places.take("x.pdf") for _ in range(10_000)}) == 10_000
    assert places.take("x.pdf") == ("x.pdf~10001",)


def test_a11_a_link_in_the_folder_is_never_followed(tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    write_mirror([], out)
    (out / "inv").symlink_to(outside)
    with pytest.raises(InvalidRequest, match="a link or a file stands where a folder must be"):
        write_mirror([line("inv/1.pdf", {"a": 1})], out)
    (out / "2.pdf.json").symlink_to(outside / "precious")
    (out / "3.pdf.json").hardlink_to(outside / "precious")
    write_mirror([line("2.pdf", {"a": 1}), line("3.pdf", {"a": 1})], out)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "mine"}
    assert not (out / "2.pdf.json").is_symlink()


def test_a11_what_lies_where_we_write_is_never_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    write_mirror([], tmp_path / "out")
    (tmp_path / "out/.rightsize/part").hardlink_to(precious)
    write_mirror([line("x", {"a": 1})], tmp_path / "out")
    (tmp_path / "out/.rightsize/mirror").unlink()
    (tmp_path / "out/.rightsize/mirror").symlink_to(precious)
    with pytest.raises(InvalidRequest, match="a link"):
        write_mirror([line("x", {"a": 1})], tmp_path / "out")
    os.mkfifo(tmp_path / "out/y.json")
    assert precious.read_text() == "mine"


def test_a_pipe_where_a_file_belongs_is_replaced_and_not_waited_for(tmp_path: Path) -> None:
    write_mirror([], tmp_path)
    os.mkfifo(tmp_path / "y.json")
    write_mirror([line("y", {"a": 1})], tmp_path)
    assert (tmp_path / "y.json").is_file()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(Conflict, match=r"is no mirror of results\. Name a new or an empty folder"):
        write_mirror([line()], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_folder_whose_mark_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".rightsize").mkdir()
    (tmp_path / ".rightsize/mirror").write_text("something else")
    with pytest.raises(Conflict, match="is no mirror"):
        write_mirror([line()], tmp_path)


def test_a_run_that_died_before_its_first_file_is_simply_made_again(tmp_path: Path) -> None:
    (tmp_path / ".rightsize").mkdir()
    assert write_mirror([line()], tmp_path).written == 1


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    write_mirror([], tmp_path)
    with (tmp_path / ".rightsize/mirror").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="Another command writes into"):
            write_mirror([line()], tmp_path)
    assert write_mirror([line()], tmp_path).written == 1


def test_a_full_disk_leaves_whole_files_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list(invoices(9))
    real, left = os.replace, iter([True] * 4)

    def replace(*names: Any, **places: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*names, **places)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InvalidRequest, match=r"No space left on device. Make room"):
        write_mirror(lines, tmp_path)
    assert all(json.loads(path.read_text()) for path in tmp_path.rglob("*.json"))
    monkeypatch.undo()
    assert write_mirror(lines, tmp_path).written == 5


def test_a_fault_of_the_source_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    def broken() -> Any:
        yield line()
        raise OSError(errno.ECONNRESET, "the network broke")

    with pytest.raises(OSError, match="the network broke"):
        write_mirror(broken(), tmp_path)


def test_the_files_have_the_rights_that_the_person_gives_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_mirror([line("x", {"a": 1})], tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out/x.json").stat().st_mode & 0o777 == 0o640
