"""The example files: made by their script, fit for the demo, and the project's own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.documents.rows import rows_of
from orchestrator.hints import NO_HINTS
from orchestrator.requests import features_of

EXAMPLES = Path(__file__).parents[1] / "examples"


def labelled(name: str) -> list[tuple[str, str]]:
    with (EXAMPLES / name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def demo() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "demo.jsonl").read_text("utf-8").splitlines()]


def test_the_script_makes_the_committed_text_files_again(tmp_path):
    subprocess.run([sys.executable, EXAMPLES / "make_examples.py", "--out", tmp_path], check=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["demo.jsonl", "tickets-labelled.csv", "tickets-train.csv", "tickets.csv", "trace.csv"]
    for name in made:
        assert (tmp_path / name).read_bytes() == (EXAMPLES / name).read_bytes(), (
            f"{name}: run examples/make_examples.py"
        )


def test_four_hundred_tickets_of_eight_labels_are_all_different():
    train, unseen = labelled("tickets-train.csv"), labelled("tickets.csv")
    assert len({text.lower() for text, _ in train + unseen}) == 400
    assert (
        set(Counter(label for _, label in train).values())
        == set(Counter(label for _, label in unseen).values())
        == {25}
    )
    assert len({label for _, label in train}) == 8


def test_training_and_unseen_tickets_share_no_sentence():
    labels = tomllib.loads((EXAMPLES / "ticket_parts.toml").read_text("utf-8"))["labels"]
    train = {sentence.lower() for parts in labels.values() for sentence in parts["train"]}
    unseen = {sentence.lower() for parts in labels.values() for sentence in parts["unseen"]}
    assert not train & unseen


def test_the_demo_is_one_batch_that_names_no_tier_and_that_the_server_accepts(demo):
    kinds = Counter(row["custom_id"].split("-")[0] for row in demo)
    assert kinds == {"ticket": 200, "research": 40, "strategy": 20, "page": 12}
    assert len({row["custom_id"] for row in demo}) == len(demo)
    for row in demo:
        features = features_of(row["url"], row["body"], NO_HINTS)
        assert features.hints.tier is None
        assert features.model == "auto"
        assert features.images == (1 if row["custom_id"].startswith("page-") else 0)


def test_the_demos_tickets_carry_their_task_and_the_right_answer(demo):
    tickets = [row["body"] for row in demo if row["custom_id"].startswith("ticket-")]
    assert {body["rightsize"]["task"] for body in tickets} == {"support-triage"}
    assert [body["metadata"]["expected"] for body in tickets] == [label for _, label in labelled("tickets.csv")]
    assert all(body["metadata"]["expected"] in body["metadata"]["labels"].split(",") for body in tickets)


def test_some_strategy_questions_declare_high_stakes_and_no_research_does(demo):
    declared = Counter(
        row["custom_id"].split("-")[0] for row in demo if row["body"].get("rightsize", {}).get("stakes") == "high"
    )
    assert declared == {"strategy": 12}


def test_submitting_the_demo_sends_its_rows_byte_for_byte():
    assert b"\n".join([*rows_of(EXAMPLES / "demo.jsonl"), b""]) == (EXAMPLES / "demo.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["pages", "research.jsonl", "strategy.jsonl", "tickets.csv"])
def test_every_example_can_be_submitted_without_an_error(name):
    assert not [line for line in rows_of(EXAMPLES / name) if "error" in json.loads(line)]


def test_the_pages_are_small():
    sizes = [path.stat().st_size for path in (EXAMPLES / "pages").glob("*.png")]
    assert len(sizes) == 12
    assert max(sizes) < 30_000


def test_the_pages_can_be_drawn_again(tmp_path):
    sys.path.insert(0, str(EXAMPLES))
    try:
        import make_examples

        for page in make_examples.pages():
            make_examples.draw(page, tmp_path)
    finally:
        sys.path.remove(str(EXAMPLES))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in (EXAMPLES / "pages").iterdir()
    )


def test_every_example_is_described():
    described = (EXAMPLES / "README.md").read_text("utf-8")
    names = [path.name for path in EXAMPLES.iterdir() if path.is_file() and path.name != "README.md"]
    assert [name for name in names if f"`{name}`" not in described] == []


def test_the_openai_script_is_valid_python():
    source = (EXAMPLES / "submit_openai.py").read_text("utf-8")
    compile(source, "submit_openai.py", "exec")
    assert len(source.splitlines()) < 30
