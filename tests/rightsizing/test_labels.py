"""Labels are read strictly: what is wrong is named by its line, and nothing is skipped silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.training.labels import read_given, read_labels


def write(tmp_path: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "text,label\nhello,a\nbye,b\n",
        "\ufefftext,label\r\nhello,a\r\nbye, b \r\n",
        "label;text\na;hello\n\nb;bye",
        'id\ttext\tlabel\n1\t"hello"\ta\n2\tbye\tb\n\n',
    ],
)
def test_common_forms_of_csv_are_read(tmp_path: Path, content: str) -> None:
    assert read_labels(write(tmp_path, content)) == (["hello", "bye"], ["a", "b"])


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, 'Body,Kind\n"two\nlines, and ""quotes""",a\n')
    assert read_labels(path, "Body", "Kind") == (['two\nlines, and "quotes"'], ["a"])


@pytest.mark.parametrize(
    "content,words",
    [
        ("", ["empty"]),
        ("text,label\n", ["no rows"]),
        ("text,kind\nhello,a\n", ["'label'", "text, kind", "--label-column"]),
        ("text,label,label\nhello,a,b\n", ["two columns"]),
        ("text,label\nhello,a\n,b\nbye,\n", ["line 3: no text", "line 4: no label"]),
        ('text,label\n"a\nb",a\n  ,b\n', ["line 4: no text"]),
        ("text,label\nhello,a,c\n", ["line 2", "3 fields"]),
        ("text,label\n" + "x\n" * 9, ["line 2", "and 4 more"]),
        ('text,label\nok,a\n"never closed,b\n', ["line 3", "quotes"]),
        (f"text,label\n{'x' * 100_001},a\n", ["line 2", "100,000"]),
        (f"text,label\n{'x' * 200_000},a\n", ["line 2", "100,000"]),
        (b"text,label\nhello,a\ncaf\xe9,b\n", ["line 3 is not UTF-8"]),
        (b"text,label\n" + b"hello,a\n" * 5000 + b"caf\xe9,b\n", ["line 5002 is not UTF-8"]),
        ("text,label\nhello,a\n".encode("utf-16"), ["UTF-16"]),
        (b"PK\x03\x04\0\0\0", ["no text file"]),
        (b"text,label\nhel\0lo,a\n", ["line 2"]),
    ],
)
def test_files_that_are_wrong_are_refused_with_their_lines(
    tmp_path: Path, content: str | bytes, words: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_labels(write(tmp_path, content))
    for word in words:
        assert word in caught.value.message


def test_rows_that_people_left_without_a_label_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "job,label\nj1,a\nj2,\nj3, \nj4,b\n")
    assert read_given(path, "job", "label") == (["j1", "j4"], ["a", "b"], 2)
    with pytest.raises(InvalidRequest, match="no label"):
        read_labels(path, "job", "label")
    with pytest.raises(InvalidRequest, match=r"None of the 1 rows of labels\.csv has a label yet"):
        read_given(write(tmp_path, "job,label\nj1,\n"), "job", "label")


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InvalidRequest, match="Cannot read"):
            read_labels(path)
