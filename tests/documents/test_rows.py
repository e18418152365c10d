"""Files and folders: at least one line for each, none that blocks, none that is skipped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.documents.rows import RowOptions, rows_of
from orchestrator.errors import InvalidRequest


def rows(path: Path, options: RowOptions | None = None) -> dict[str, Any]:
    made = [json.loads(line) for line in rows_of(path, options)]
    by_id = {row["custom_id"]: row for row in made}
    assert len(by_id) == len(made)
    return by_id


def codes(path: Path) -> dict[str, str]:
    return {custom_id: row["error"]["code"] if "error" in row else "" for custom_id, row in rows(path).items()}


def test_a_folder_gives_its_files_by_name_with_their_paths_as_ids(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "two.md").write_text("# Two")
    (tmp_path / "a.txt").write_text("One")
    (tmp_path / "z.jsonl").write_text('{"id": "mine", "text": "Three"}\n"Four"\n')
    made = rows(tmp_path)
    assert list(made) == ["a.txt", "b/c/two.md", "z.jsonl#1", "z.jsonl#2"]
    assert made["b/c/two.md"]["body"]["messages"] == [{"role": "user", "content": "# Two"}]


def test_a_single_file_has_its_name_as_id(tmp_path):
    (tmp_path / "a.txt").write_text("One")
    assert list(rows(tmp_path / "a.txt")) == ["a.txt"]


@pytest.mark.parametrize("name", ["a.docx", "a.htm", "a.eml", "noext", ".hidden", "a.txt~", "a.png", "a.zip"])
def test_a_file_is_what_its_content_says_and_not_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"whatever")
    (row,) = rows(tmp_path).values()
    assert row["body"]["messages"] == [{"role": "user", "content": "whatever"}]


@pytest.mark.parametrize(
    "data, remedy",
    [
        (b"\x7fELF" + bytes(60), "as PDF or text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Save it as"),
        (b"\x1f\x8b\x08" + bytes(30), "Unpack it"),
        (b"OggS" + bytes(60), "Convert it to WAV"),
    ],
)
def test_what_cannot_be_read_says_what_it_is_and_what_to_do(tmp_path, data, remedy):
    (tmp_path / "a.txt").write_bytes(data)
    (row,) = rows(tmp_path).values()
    assert row["error"]["code"] == "unsupported_file"
    assert remedy in row["error"]["message"]


def test_ten_thousand_files_stream_one_at_a_time(tmp_path):
    for number in range(10_000):
        (tmp_path / f"{number:05}.txt").write_bytes(b"x")
    lines = rows_of(tmp_path)
    assert json.loads(next(lines))["custom_id"] == "00000.txt"
    (tmp_path / "09999.txt").unlink()  # it was listed, and is read only when its turn comes
    rest = [json.loads(line) for line in lines]
    assert len(rest) == 9_999
    assert rest[-1]["error"]["code"] == "unreadable_file"
    assert "vanished" in rest[-1]["error"]["message"]


def test_a11_links_pipes_and_sockets_are_errors_and_never_block(tmp_path, monkeypatch):
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.txt")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.txt")
        made = codes(folder)
    assert made == dict.fromkeys(["dangling.txt", "link.txt", "loop", "pipe.txt", "socket.txt"], "not_a_file")


def test_a11_a_device_is_an_error():
    assert codes(Path("/dev/zero")) == {"zero": "not_a_file"}


def test_a_link_that_the_caller_names_is_followed(tmp_path):
    (tmp_path / "a.txt").write_text("One")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert codes(tmp_path / "b.txt") == {"b.txt": ""}


def test_a11_names_that_are_no_utf8_or_have_control_characters_become_clean_ids(tmp_path):
    names = [b"caf\xe9.txt", b"a\nb\x1b[31m.txt", b"..hidden.txt", "日本.txt".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text("x")  # noqa: PTH118 (bytes)
    made = rows(tmp_path)
    assert sorted(made) == ["..hidden.txt", "a�b�[31m.txt", "caf�.txt", "日本.txt"]


def test_a11_names_that_come_out_equal_are_still_told_apart(tmp_path):
    for name in (b"\xe9.txt", b"\xe8.txt", "�.txt".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text("x")  # noqa: PTH118 (bytes)
    assert len(rows(tmp_path)) == 3


def test_a11_very_long_paths_have_ids_of_at_most_512_characters(tmp_path):
    deep = tmp_path / ("a" * 250) / ("b" * 250)
    deep.mkdir(parents=True)
    for number in range(3):
        (deep / f"{number}{'c' * 200}.csv").write_text("text\nx\ny\n")
    made = rows(tmp_path)
    assert len(made) == 6
    assert all(len(custom_id) <= 512 for custom_id in made)


def test_a11_a_file_called_as_a_row_of_another_is_told_apart(tmp_path):
    (tmp_path / "t.csv").write_text("text\nx\n")
    (tmp_path / "t.csv#1").write_text("x")
    assert len(rows(tmp_path)) == 2


def test_folders_nested_too_deep_are_one_error(tmp_path):
    deep = tmp_path
    for _ in range(70):
        deep /= "d"
    deep.mkdir(parents=True)
    assert list(codes(tmp_path).values()) == ["unreadable_file"]


@pytest.fixture
def as_somebody_else() -> Iterator[Path]:
    """A folder that everybody may list, seen without root's rights."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    try:
        (folder / "closed.txt").write_text("secret")
        (folder / "closed.txt").chmod(0)
        (folder / "shut").mkdir(mode=0)
        (folder / "open.txt").write_text("x")
        if os.geteuid() == 0:
            os.seteuid(65_534)
        yield folder
    finally:
        os.seteuid(os.getuid())
        (folder / "shut").chmod(0o700)
        shutil.rmtree(folder)


def test_what_may_not_be_read_is_an_error_and_the_rest_is_read(as_somebody_else):
    assert codes(as_somebody_else) == {"closed.txt": "unreadable_file", "open.txt": "", "shut": "unreadable_file"}


@pytest.mark.parametrize("path", ["nothing/here.txt", "nul\0.txt", "x" * 5_000])
def test_a_path_that_does_not_exist_is_refused_at_once(path):
    with pytest.raises(InvalidRequest, match=r"Give a file, a folder, or `-`"):
        rows_of(Path(path))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="holds no files"):
        list(rows_of(tmp_path))


@pytest.mark.parametrize(
    "options", [RowOptions(stakes="enormous"), RowOptions(tier="xl"), RowOptions(endpoint="/v1/else")]
)
def test_options_that_cannot_be_are_refused_at_once(tmp_path, options):
    with pytest.raises(InvalidRequest):
        rows_of(tmp_path, options)


def test_a_request_over_the_limit_of_a_row_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 2_000)
    (row,) = rows(tmp_path, RowOptions(max_row_bytes=1_000)).values()
    assert row["error"]["code"] == "row_too_large"


def test_reading_text_loads_neither_pypdfium2_nor_pillow(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    script = (
        "import sys; from pathlib import Path; from orchestrator.documents.rows import rows_of; "
        f"list(rows_of(Path({str(tmp_path)!r}))); "
        "print([name for name in ('pypdfium2', 'PIL', 'sqlalchemy', 'celery', 'fastapi') if name in sys.modules])"
    )
    with os.popen(f"{sys.executable} -c {json.dumps(script)}") as out:
        assert out.read().strip() == "[]"
