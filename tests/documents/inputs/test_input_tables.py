"""Tables in which each row is a document: its text, or the file that it names; a bad row costs itself only."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.documents.inputs import Wanted, check, inputs_of
from orchestrator.errors import InvalidRequest
from tests.documents.inputs.taken import MIB, taken, why


def test_each_row_is_a_document_and_its_text_are_the_bytes(tmp_path: Path, spool: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes('\ufeffid,text\nK1,"Grüße, und\nmehr"\n,second\n'.encode())
    assert taken(table, spool, text_column="text") == [("t.csv#1", "Grüße, und\nmehr".encode()), ("t.csv#2", b"second")]
    assert taken(table, spool, text_column="text", id_column="id") == [
        ("K1", "Grüße, und\nmehr".encode()), ("t.csv#2", b"second"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, head",
    [("t.csv", "a;text;b\n1;x, y;2\n"), ("t.tsv", "a\ttext, b\ttext\n1\t2\tx, y\n"), ("t.csv", "a|text\n1|x, y\n")],
)
def test_the_delimiter_is_the_one_that_finds_the_column(name: str, head: str, tmp_path: Path, spool: Path) -> None:
    (tmp_path / name).write_text(head)
    assert taken(tmp_path / name, spool, text_column="text") == [(f"{name}#1", b"x, y")]


def test_a_bad_row_of_a_csv_costs_itself_only(tmp_path: Path, spool: Path) -> None:
    rows = [b"id,text", b"1,one", b"2", b"3,a,b", b'4,"bad"x', b"5,\xff", b"6,", b"7,\0", b"8,eight"]
    (tmp_path / "t.csv").write_bytes(b"\n".join(rows) + b"\n")
    found = taken(tmp_path / "t.csv", spool, text_column="text")
    assert found[0] == ("t.csv#1", b"one")
    assert found[-1] == ("t.csv#8", b"eight")
    assert [content for _, content in found[1:-1]] == ["malformed_row"] * 6
    assert all(one.count(".") >= 2 for one in why(tmp_path / "t.csv", spool, text_column="text")), "cause and remedy"


def test_a11_a_quote_that_is_never_closed_ends_at_the_bound(tmp_path: Path, spool: Path) -> None:
    with (tmp_path / "t.csv").open("wb") as file:
        file.write(b'text\n"open\n')
        for _ in range(100):
            file.write(b"x" * 65_535 + b"\n")
    found = taken(tmp_path / "t.csv", spool, text_column="text")
    assert found[0] == ("t.csv#1", "row_too_large")
    assert len(found) < 100


def test_a_bad_row_of_jsonl_costs_itself_only(tmp_path: Path, spool: Path) -> None:
    rows = [
        {"t": "one", "n": 7}, "text", {"t": 5}, {"t": None}, {"x": "y"}, {"t": "  "}, {"t": "last", "n": "seven"},
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "t.jsonl").write_text("\n".join([*lines[:1], "", "{broken", *lines[1:]]))
    found = taken(tmp_path / "t.jsonl", spool, text_column="t", id_column="n")
    assert found == [("7", b"one"), *((f"t.jsonl#{line}", "malformed_row") for line in range(3, 9)), ("seven", b"last")]


def test_a11_a_line_without_end_is_not_kept(tmp_path: Path, spool: Path) -> None:
    with (tmp_path / "t.jsonl").open("wb") as file:
        file.write(b'{"t": "')
        for _ in range(40):
            file.write(b"x" * MIB)
        file.write(b'"}\n{"t": "next"}\n')
    assert taken(tmp_path / "t.jsonl", spool, text_column="t") == [
        ("t.jsonl#1", "row_too_large"),
        ("t.jsonl#2", b"next"),
    ]


def parquet(path: Path, columns: dict[str, Any], **how: Any) -> Path:
    pq.write_table(pa.table(columns), path, **how)
    return path


def test_the_rows_of_a_parquet_file_are_documents(tmp_path: Path, spool: Path) -> None:
    columns = {"id": [1, None, 3], "text": ["one", "", None], "other": [1.0, 2.0, 3.0]}
    table = parquet(tmp_path / "t.parquet", columns, row_group_size=2)
    assert taken(table, spool, text_column="text", id_column="id") == [
        ("1", b"one"), ("t.parquet#2", "malformed_row"), ("3", "malformed_row"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_a_text_is_a_text_however_parquet_keeps_it(kind: pa.DataType, tmp_path: Path, spool: Path) -> None:
    table = parquet(tmp_path / "t.parquet", {"list": [["x"], []], "text": pa.array(["one", None]).cast(kind)})
    found = taken(table, spool, text_column="text", id_column="list")
    assert found == [("t.parquet#1", b"one"), ("t.parquet#2", "malformed_row")]


def test_a_broken_group_of_rows_costs_itself_only(tmp_path: Path, spool: Path) -> None:
    texts = [f"{number:04}" * 250 for number in range(300)]
    table = parquet(
        tmp_path / "t.parquet",
        {"text": texts},
        row_group_size=100,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )
    data = bytearray(table.read_bytes())
    about = pq.read_metadata(table).row_group(1).column(0)
    data[about.data_page_offset + 30 : about.data_page_offset + about.total_compressed_size] = bytes(
        about.total_compressed_size - 30
    )
    table.write_bytes(data)
    found = taken(table, spool, text_column="text")
    assert found[:100] == [(f"t.parquet#{number}", texts[number - 1].encode()) for number in range(1, 101)]
    assert found[-100:] == [(f"t.parquet#{number}", texts[number - 1].encode()) for number in range(201, 301)]
    assert [content for _, content in found[100:-100]] == ["unreadable_file"]


def test_a11_a_text_that_repeats_is_one_in_memory(tmp_path: Path, spool: Path) -> None:
    """200,000 rows of the same 1 MiB would be 200 GiB; a file of one and a half MiB holds them."""
    words = pa.array(["x" * MIB])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), words)
    table = parquet(tmp_path / "t.parquet", {"text": column}, store_schema=False)
    before, most = pa.total_allocated_bytes(), 0
    for count, one in enumerate(inputs_of(Wanted(str(table), text_column="text"), spool), 1):
        most = max(most, pa.total_allocated_bytes() - before)
        one.done()
        if count == 500:
            break
    assert 0 < most < 64 * MIB


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(200) + b"PAR1", b"no table at all"])
def test_what_is_no_parquet_is_one_input_that_says_so(content: bytes, tmp_path: Path, spool: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    assert taken(tmp_path / "t.parquet", spool, text_column="text") == [("t.parquet", "unreadable_file")]


@pytest.mark.parametrize("name, content", [("t.csv", b""), ("t.csv", b"text\n"), ("t.jsonl", b"\n\n")])
def test_a_table_without_rows_is_one_input_that_says_so(name: str, content: bytes, tmp_path: Path, spool: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert taken(tmp_path / name, spool, text_column="text") == [(name, "empty_file")]


def rows(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b'%d,"Text of row %d, which is some words long."\n' % (number, number)


def test_a_million_rows_take_no_more_memory_than_a_thousand(tmp_path: Path, spool: Path) -> None:
    with (tmp_path / "t.csv").open("wb") as file:
        file.write(b"id,text\n")
        file.writelines(rows(1_000_000))
    inputs = inputs_of(Wanted(str(tmp_path / "t.csv"), text_column="text", id_column="id"), spool)
    for _ in range(1_000):
        next(inputs)
    tracemalloc.start()
    try:
        count = sum(1 for _ in zip(range(20_000), inputs, strict=False))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rest = sum(1 for _ in inputs)
    assert count + rest == 999_000
    assert most < MIB


def test_a_large_text_waits_on_the_disk(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"t": "x" * 100_000}))
    (one,) = inputs_of(Wanted(str(tmp_path / "t.jsonl"), text_column="t"), spool)
    assert [copy.name for copy in spool.iterdir()] == ["1"]
    one.done()
    assert list(spool.iterdir()) == []


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_bytes(b"secret")
    made = tmp_path / "in"
    (made / "deep").mkdir(parents=True)
    (made / "a.txt").write_bytes(b"a")
    (made / "deep/b.txt").write_bytes(b"b")
    (made / "link.txt").symlink_to(tmp_path / "outside.txt")
    (made / "inner.txt").symlink_to(made / "a.txt")
    (made / "out").symlink_to(tmp_path)
    return made / "t.csv"


def test_a_row_may_name_a_file_below_the_table(table: Path, spool: Path) -> None:
    table.write_text("id,path\nK1,a.txt\nK2,./deep//b.txt\n")
    assert taken(table, spool, path_column="path") == [("a.txt", b"a"), ("deep/b.txt", b"b")]
    assert taken(table, spool, path_column="path", id_column="id") == [("K1", b"a"), ("K2", b"b")]


@pytest.mark.parametrize(
    "path",
    [
        "../outside.txt", "deep/../../outside.txt", "deep/../a.txt", "..", "/etc/passwd", "//etc/passwd", "link.txt", "inner.txt",
        "out/outside.txt", "out/in/a.txt", "out", ".", "deep", "missing.txt", "a.txt/x", "deep/missing/x", "x" * 5_000,
        "x/" * 400_000, "..\\outside.txt", "file:///etc/passwd", "~/x",
    ],
)  # fmt: skip
def test_a14_a_path_that_leads_out_or_to_no_file_is_refused_and_says_why(path: str, table: Path, spool: Path) -> None:
    table.write_text(f'path\n"{path}"\na.txt\n')
    found = taken(table, spool, path_column="path")
    assert found[0][1] in {"not_a_file", "unreadable_file"}
    assert found[1] == ("a.txt", b"a")
    assert all(one.count(".") >= 2 for one in why(table, spool, path_column="path")), "cause and remedy"


def test_a14_a_path_with_nul_is_refused(table: Path, spool: Path) -> None:
    table.with_suffix(".jsonl").write_text(json.dumps({"p": "a.txt\0.pdf"}))
    assert [code for _, code in taken(table.with_suffix(".jsonl"), spool, path_column="p")] == ["unreadable_file"]


def test_a14_a_folder_that_becomes_a_link_in_the_meantime_is_not_followed(
    table: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.documents.inputs import beneath

    (table.parent.parent / "b.txt").write_bytes(b"secret")
    table.write_text("path\ndeep/b.txt\n")
    real = beneath.open_regular

    def exchanged(path: Path, *, follow: bool) -> Any:
        (table.parent / "deep").rename(table.parent / "was")
        (table.parent / "deep").symlink_to(table.parent.parent)
        return real(path, follow=follow)

    monkeypatch.setattr(beneath, "open_regular", exchanged)
    assert taken(table, spool, path_column="path") == [("deep/b.txt", "not_a_file")]


@pytest.mark.parametrize(
    "name, how, said",
    [
        ("t.csv", {"text_column": "body"}, "no column 'body'. It has 'id', 'text', 'twice', 'twice'"),
        ("t.csv", {"text_column": "text", "path_column": "id"}, "give one of the two"),
        ("t.csv", {"id_column": "id"}, "name the column with their texts or files"),
        ("t.csv", {"text_column": "text", "id_column": "key"}, "no column 'key'"),
        ("t.csv", {"text_column": "twice"}, "2 columns called"),
        ("t.parquet", {"text_column": "id"}, "int64, not text"),
        ("t.parquet", {"path_column": "body"}, "no column 'body'"),
        ("t.parquet", {"text_column": "list"}, "list<.*, not text"),
        ("t.txt", {"text_column": "text"}, "Columns are for one table"),
        (".", {"text_column": "text"}, "Columns are for one table"),
        ("*.csv", {"text_column": "text"}, "Columns are for one table"),
        ("none.csv", {"text_column": "text"}, "does not exist"),
    ],
)
def test_columns_that_cannot_be_are_refused_at_once(name: str, how: dict[str, str], said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text,twice,twice\n1,a,b,c\n")
    (tmp_path / "t.txt").write_text("text")
    parquet(tmp_path / "t.parquet", {"id": [1], "text": ["x"], "list": [["x"]]})
    with pytest.raises(InvalidRequest, match=said):
        check(Wanted(f"{tmp_path}/{name}", **how))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_columns_that_are_there_are_fine(name: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,a\n")
    (tmp_path / "t.jsonl").write_text('{"id": 1, "text": "a"}\n')
    parquet(tmp_path / "t.parquet", {"id": [1], "text": ["x"]})
    check(Wanted(f"{tmp_path}/{name}", text_column="text", id_column="id"))


def test_without_pyarrow_a_parquet_file_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = parquet(tmp_path / "t.parquet", {"text": ["x"]})
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InvalidRequest, match=r"rightsize\[parquet\]"):
        check(Wanted(str(table), text_column="text"))
