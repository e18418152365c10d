"""A wrong flag is named as it was typed, and refused as wrong usage before anything starts."""

from __future__ import annotations

import pytest

from tests.cli.place import Place


@pytest.mark.parametrize(
    "words, name, remedy",
    [
        ("submit . --deadline tomorrow", "--deadline", "such as 24h, 90m or 7d"),
        ("submit . --deadline 31d", "--deadline", "up to 30d"),
        ("submit . --deadline 0h", "--deadline", "up to 30d"),
        ("submit . --max-cost-usd lots", "--max-cost-usd", "US dollars"),
        ("submit . --max-cost-usd -1", "--max-cost-usd", "US dollars"),
        ("submit . --task My_Task", "--task", "lower-case letters"),
        ("submit . --tier xxl", "--tier", "'xxl' is not one of 'auto', 'slm', 'llm', 'rlm', 'mllm'"),
        ("submit . --stakes huge", "--stakes", "'huge' is not one of"),
        ("worker", "--tier", "say what to serve"),
        ("worker --tier xxl", "--tier", "'xxl' is not one of 'slm'"),
        ("explain text --max-latency-s nan", "--max-latency-s", "seconds"),
        ("train My_Task --labels x.csv", "TASK", "lower-case letters"),
        ("up --port 70000", "--port", "65535"),
        ("cancel x", "'x' is no id", "job_"),
        ("submit none.csv", "none.csv", "does not exist"),
    ],
)
def test_a_wrong_value_is_told_under_the_name_of_its_flag(words: str, name: str, remedy: str, empty: Place) -> None:
    told = " ".join(empty.run(*words.split(), code=2).stderr.replace("│", "").split())
    assert name in told
    assert remedy in told
    assert "Value error" not in told
    assert not empty.data_dir.exists()


@pytest.mark.parametrize(
    "words, name",
    [
        (["submit", ""], "PATH|FILE.jsonl|-"),
        (["submit", ".", "--wait", "--out", ""], "--out"),
        (["results", "batch_1", "--out="], "--out"),
        (["up", "--data-dir", ""], "--data-dir"),
        (["doctor", "--config="], "--config"),
    ],
)
def test_an_empty_path_is_refused_and_never_taken_for_the_current_folder(
    words: list[str], name: str, empty: Place
) -> None:
    told = " ".join(empty.run(*words, code=2).stderr.replace("│", "").split())
    assert f"Invalid value for '{name}': it is empty" in told
    assert list(empty.folder.iterdir()) == []
    assert not empty.data_dir.exists()


@pytest.mark.parametrize("words", [["status", ""], ["results", " "], ["job", ""], ["retry", ""], ["cancel", ""]])
def test_an_empty_id_is_refused_before_anything_is_asked(words: list[str], empty: Place) -> None:
    told = " ".join(empty.run(*words, code=2).stderr.replace("│", "").split())
    assert f"{words[1]!r} is no id" in told
    assert not empty.data_dir.exists()


def test_help_names_exit_codes_json_shapes_and_one_example_a_line(empty: Place) -> None:
    text = " ".join(empty.run("--help").stdout.split())
    assert "130 interrupted" in text
    assert "leaves with 0 also where rows of it failed" in text
    submit = empty.run("submit", "--help").stdout
    assert sum(line.strip().startswith(("rightsize submit", "cat rows.jsonl")) for line in submit.splitlines()) == 5
    for command in (
        "submit",
        "status",
        "cancel",
        "explain",
        "cost",
        "models",
        "train",
        "evaluate",
        "bench",
        "doctor",
        "migrate",
    ):
        text = " ".join(empty.run(command, "--help").stdout.replace("│", "").split())
        assert "Print JSON for programs: " in text, command
    assert "RIGHTSIZE_CONFIG" in text or "RIGHTSIZE_CONFIG" in submit
