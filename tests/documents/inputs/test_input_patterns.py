"""Patterns in the shell's form: what a shell would find, and what folders refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.documents.inputs import Wanted, inputs_of, name_of
from orchestrator.errors import InvalidRequest
from tests.documents.inputs.taken import taken, zipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scans"
    for name in ("a.pdf", "b.txt", ".hidden.pdf", "2024/a.pdf", "2024/x/c.pdf", "2025/b.pdf", ".git/d.pdf", "x[1].pdf"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(name.encode())
    return made


@pytest.mark.parametrize(
    "pattern, names",
    [
        ("*.pdf", ["a.pdf", "x[1].pdf"]),
        ("**/*.pdf", ["2024/a.pdf", "2024/x/c.pdf", "2025/b.pdf", "a.pdf", "x[1].pdf"]),
        ("**/**/*.pdf", ["2024/a.pdf", "2024/x/c.pdf", "2025/b.pdf", "a.pdf", "x[1].pdf"]),
        ("*/a.pdf", ["2024/a.pdf"]),
        ("202?/*.pdf", ["2024/a.pdf", "2025/b.pdf"]),
        ("[ab].*", ["a.pdf", "b.txt"]),
        ("202[!4]", ["2025/b.pdf"]),
        ("**/x", ["2024/x/c.pdf"]),
        (".*.pdf", [".hidden.pdf"]),
        ("**/x/*", ["2024/x/c.pdf"]),
    ],
)
def test_a_pattern_finds_what_a_shell_would_in_order(pattern: str, names: list[str], folder: Path, spool: Path) -> None:
    assert taken(f"{folder}/{pattern}", spool) == [(name, name.encode()) for name in names]


def test_a_file_of_the_very_name_goes_before_a_pattern(folder: Path, spool: Path) -> None:
    assert taken(folder / "x[1].pdf", spool) == [("x[1].pdf", b"x[1].pdf")]


def test_a_pattern_is_relative_to_where_we_are(folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [name for name, _ in taken("*.pdf", spool)] == ["a.pdf", "x[1].pdf"]


def test_a14_links_that_a_pattern_finds_are_told_and_not_followed(folder: Path, spool: Path) -> None:
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside/z.pdf").write_bytes(b"outside")
    (folder / "out").symlink_to(folder.parent / "outside")
    (folder / "z.pdf").symlink_to(folder.parent / "outside/z.pdf")
    (folder / "z.txt").symlink_to(folder / "b.txt")
    found = taken(f"{folder}/**/*.pdf", spool)
    assert [one for one in found if one[1] == "not_a_file"] == [("out", "not_a_file"), ("z.pdf", "not_a_file")]
    assert all(content != b"outside" for _, content in found)


def test_archives_that_a_pattern_finds_are_unpacked(folder: Path, spool: Path) -> None:
    (folder / "a.zip").write_bytes(zipped({"x.txt": b"x"}))
    assert taken(f"{folder}/*.zip", spool) == [("a.zip/x.txt", b"x")]


@pytest.mark.parametrize("pattern", ["*.doc", "nowhere/*.pdf", "*/../*.pdf", "a.pdf/*"])
def test_a_pattern_that_finds_nothing_is_refused(pattern: str, folder: Path, spool: Path) -> None:
    with pytest.raises(InvalidRequest, match="finds nothing"):
        next(inputs_of(Wanted(f"{folder}/{pattern}"), spool))


def test_a_pattern_with_many_stars_is_no_work(tmp_path: Path, spool: Path) -> None:
    folder = tmp_path
    for _ in range(20):
        folder /= "a"
    folder.mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"b")
    assert taken(f"{tmp_path}/{'**/' * 30}*.txt", spool) == [("a/" * 20 + "b.txt", b"b")]


def test_a_batch_is_named_by_what_stands_before_the_signs(folder: Path) -> None:
    assert name_of(Wanted(f"{folder}/**/*.pdf")) == "scans"
    assert name_of(Wanted("*.pdf")) == "documents"
