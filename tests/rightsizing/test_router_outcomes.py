"""Outcomes are read strictly: what is wrong is named with its line or column, and nothing is taken for what it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import InvalidRequest
from orchestrator.rightsizing.router import outcomes as reading
from orchestrator.rightsizing.router.outcomes import read_outcomes, text_hashes


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "outcomes.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "prompt,small,large\nhello,0,1\nbye,0.5,\n",
        "\ufeffprompt,small,large\r\nhello,0,1\r\nbye, .5 ,\r\n",
        "small;prompt;large\n0;hello;1\n\n.5;bye;\n",
        'prompt\tsmall\tlarge\n"hello"\t0.0\t1.0\nbye\t5e-1\t\n\n',
    ],
)
def test_common_forms_of_csv_are_read(tmp_path: Path, content: str) -> None:
    found = read_outcomes(write(tmp_path, content))
    assert (found.prompts, found.models) == (["hello", "bye"], ("small", "large"))
    np.testing.assert_array_equal(found.values, np.array([[0, 1], [0.5, np.nan]], np.float32))
    assert found.complete().tolist() == [0]


def test_columns_that_are_no_models_are_ignored_by_name_only(tmp_path: Path) -> None:
    path = write(tmp_path, "prompt,small,subject,large\nhello,0,law,1\nbye,1,art,0\n")
    with pytest.raises(InvalidRequest, match=r"'subject' \('law'\).*--ignore 'subject'"):
        read_outcomes(path)
    assert read_outcomes(path, ["subject"]).models == ("small", "large")
    with pytest.raises(InvalidRequest, match="no column topic to ignore"):
        read_outcomes(path, ["topic"])


@pytest.mark.parametrize(
    "content,words",
    [
        ("", ["empty", "prompt,small"]),
        ("prompt,a,b\n", ["no rows"]),
        ("text,a,b\nhello,0,1\n", ["'prompt'", "text, a, b"]),
        ("prompt,a\nhello,0\n", ["2 to 64", "1 columns"]),
        ("prompt,a,a\nhello,0,1\n", ["two columns a"]),
        ("prompt,a,\nhello,0,1\n", ["without a name"]),
        (f"prompt,{','.join(f'm{at}' for at in range(65))}\n", ["65 columns"]),
        ("prompt,a,b\n,0,1\nhi,0,1\n  ,1,1\n", ["line 2: no prompt", "line 4: no prompt"]),
        ("prompt,a,b\nhi,0\n", ["line 2", "2 fields"]),
        ("prompt,a,b\nhi,2,1\n", ["'a' ('2')", "0 to 1"]),
        ("prompt,a,b\nhi,nan,-1\n", ["'a' ('nan')", "'b' ('-1')"]),
        ("prompt,a,b\nhi,true,inf\n", ["'a' ('true')", "'b' ('inf')"]),
        ('prompt,a,b\nok,0,1\n"never closed,0,1\n', ["line 3", "quotes"]),
        (f"prompt,a,b\n{'x' * 100_001},0,1\n", ["line 2", "100,000"]),
        ("prompt,a,b\n" + "x\n" * 5_000, ["line 2", "and 995 more"]),
        (b"prompt,a,b\ncaf\xe9,0,1\n", ["not UTF-8"]),
        (b"PK\x03\x04\0\0\0", ["no text file"]),
        (b"prompt,a,b\nhel\0lo,0,1\n", ["line 2"]),
    ],
)
def test_files_that_are_wrong_are_refused_with_what_is_wrong(
    tmp_path: Path, content: str | bytes, words: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_outcomes(write(tmp_path, content))
    for word in words:
        assert word in caught.value.message


def test_files_are_bounded_in_rows_and_in_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "prompt,a,b\n" + "hello,0,1\n" * 20)
    for name, most in (("MAX_ROWS", 10), ("MAX_CHARS", 50)):
        with monkeypatch.context() as changed:
            changed.setattr(reading, name, most)
            with pytest.raises(InvalidRequest, match="random sample"):
                read_outcomes(path)
    assert len(read_outcomes(path).prompts) == 20


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InvalidRequest, match="Cannot read"):
            read_outcomes(path)


def test_capitals_and_blanks_do_not_make_another_prompt() -> None:
    hashes = text_hashes(["Where is  my card?", " where is\nmy CARD? ", "where is my cat?"])
    assert hashes[0] == hashes[1] != hashes[2]
