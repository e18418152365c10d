"""What is said about specialists is what they can do."""

from __future__ import annotations

from tests.cli.place import Place, json_lines

TRAINED = "text,label\n" + "".join(f"red apple {n},fruit\nold train {n},travel\n" for n in range(20))


def test_evaluate_warns_of_labels_that_the_specialist_never_saw(place: Place) -> None:
    (place.folder / "train.csv").write_text(TRAINED)
    place.run("train", "topics", "--labels", "train.csv")
    (place.folder / "new.csv").write_text("text,label\nred apple,fruit\na song,music\nanother song,music\n")
    done = place.run("evaluate", "topics", "--labels", "new.csv")
    assert "2 of 3 rows have labels that the specialist never saw" in done.stderr
    assert "'music' (2)" in done.stderr
    as_json = place.run("evaluate", "topics", "--labels", "new.csv", "--json")
    assert json_lines(as_json.stdout.replace("\n", ""))[0]["unknown_labels"] == ["music"]
    (place.folder / "known.csv").write_text("text,label\nred apple,fruit\n")
    assert "Warning" not in place.run("evaluate", "topics", "--labels", "known.csv").stderr
