"""What is said about specialists is what they can do."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tests.cli.place import Place, json_lines
from tests.stack import until

TRAINED = "text,label\n" + "".join(f"red apple {n},fruit\nold train {n},travel\n" for n in range(20))


def tasks_of_specialist(place: Place) -> Sequence[str]:
    """What the list of models says that the specialist does."""
    found = {one["id"]: one["rightsize"] for one in orjson.loads(place.run("models", "--json").stdout)}
    tasks: Sequence[str] = found["specialist"]["tasks"]
    return tasks


def test_evaluate_warns_of_labels_that_the_specialist_never_saw(place: Place) -> None:
    (place.folder / "train.csv").write_text(TRAINED)
    place.run("train", "topics", "--labels", "train.csv")
    until(lambda: "topics" in tasks_of_specialist(place), 30, "the API knows the task")
    (place.folder / "new.csv").write_text("text,label\nred apple,fruit\na song,music\nanother song,music\n")
    done = place.run("evaluate", "topics", "--labels", "new.csv")
    assert "2 of 3 rows have labels that the specialist never saw" in done.stderr
    assert "'music' (2)" in done.stderr
    as_json = place.run("evaluate", "topics", "--labels", "new.csv", "--json")
    assert json_lines(as_json.stdout.replace("\n", ""))[0]["unknown_labels"] == ["music"]
    (place.folder / "known.csv").write_text("text,label\nred apple,fruit\n")
    assert "Warning" not in place.run("evaluate", "topics", "--labels", "known.csv").stderr


def test_train_says_what_it_learned_from_and_what_to_know(place: Place) -> None:
    (place.folder / "train.csv").write_text(TRAINED + "red apple 1,travel\n")
    done = place.run("train", "routes", "--labels", "train.csv", "--encoder", "none", "--certify-rows", "0", "--json")
    record = json_lines(done.stdout.replace("\n", ""))[0]
    assert "with n-grams alone" in done.stderr
    assert (record["encoder"], record["held_out_n"], record["splits"]["certify"]) == (None, 39, 0)
    assert record["contradictions"]["listed"][0]["rows"] == [3, 41]
    again = place.run("train", "routes", "--labels", "train.csv")
    assert "with sentence vectors of all-MiniLM-L6-v2" in again.stderr
    assert "Some texts have several labels" in again.stderr
    wrong = place.run("train", "routes", "--labels", "train.csv", "--encoder", "large", code=2)
    assert "'auto', 'none'" in wrong.stderr


def test_evaluate_warns_of_rows_that_were_trained_on(place: Place) -> None:
    (place.folder / "train.csv").write_text(TRAINED)
    place.run("train", "topics", "--labels", "train.csv", "--encoder", "none", "--certify-rows", "0")
    done = place.run("evaluate", "topics", "--labels", "train.csv")
    assert "40 of 40 rows are texts that it was trained on" in done.stderr
