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
