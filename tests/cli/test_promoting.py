"""A specialist is certified, promoted, held and demoted by commands, each of which says what is missing for it."""

from __future__ import annotations

import random
from itertools import product

import orjson

from tests.cli.place import Place

HOW = ["red", "green", "old", "new", "small", "large", "cheap", "fine", "round", "slow"]
WHAT = {
    "fruit": ["apple", "pear", "plum", "grape", "cherry", "melon"],
    "travel": ["train", "boat", "plane", "tram", "coach", "ferry"],
}
WHERE = ["here", "there", "today", "tomorrow", "again", "soon", "twice", "once", "please", "now"]


def rows(first: int, last: int) -> str:
    """Rows of both labels, each text once: words that all occur in the first hundred, put together anew."""
    lines = ["text,label"]
    for label, things in WHAT.items():
        texts = [f"{how} {thing} {where}" for how, thing, where in product(HOW, things, WHERE)]
        lines += [f"{text},{label}" for text in random.Random(5).sample(texts, len(texts))[first:last]]
    return "\n".join(lines) + "\n"


TASK = "two-topics"


def said(place: Place, *words: str, code: int = 0) -> str:
    """What a refused command says, in one line."""
    return " ".join(place.run(*words, code=code).stderr.replace("│", "").split())


def test_each_step_says_what_is_missing_for_it(place: Place) -> None:
    assert "has no specialist yet. Train one" in said(place, "certify", "nothing-yet", code=1)
    assert "has no specialist yet. Train one" in said(place, "promote", "nothing-yet", "--to", "shadow", code=1)
    assert "has no certificate in force" in said(place, "promote", "nothing-yet", "--to", "full", code=1)
    assert "was never promoted" in said(place, "stages", "nothing-yet", code=1)
    assert "nothing to take back" in said(place, "demote", "nothing-yet", code=1)
    assert "nothing to hold" in said(place, "freeze", "nothing-yet", code=1)
    assert "is no stage" in said(place, "promote", "nothing-yet", "--to", "heaven", code=2)
    assert "one of the two" in said(place, "train", "nothing-yet", code=1)
    assert "has answered nothing of task" in said(place, "train", "nothing-yet", "--from-history", code=1)


def test_a_task_goes_all_the_way_and_back(place: Place) -> None:
    (place.folder / "train.csv").write_text(rows(0, 150))
    (place.folder / "fresh.csv").write_text(rows(150, 450))
    place.run("train", TASK, "--labels", "train.csv", "--encoder", "none")
    words = ["certify", TASK, "--target", "0.9", "--json"]
    few = orjson.loads(place.run(*words, "--delta", "0.0001", code=1).stdout)
    assert (few["issued"], few["threshold"]) == (False, None)
    assert few["more_labels"] > 0
    found = orjson.loads(place.run(*words, "--delta", "0.05", "--labels", "fresh.csv").stdout)
    assert {"issued", "threshold", "share", "share_interval", "target", "delta", "n", "bound"} <= set(found)
    assert (found["issued"], found["attempt"], found["measure"]) == (True, 2, "accuracy")
    assert found["bound"] >= 0.9
    used = said(place, "certify", TASK, "--labels", "fresh.csv", code=1)
    assert "None of the 600 rows can be used: 600 were used by an earlier attempt" in used
    full = orjson.loads(place.run("promote", TASK, "--to", "full", "--json").stdout)
    assert (full["stage"], full["certificate"], full["threshold"]) == ("full", found["id"], found["threshold"])
    place.run("train", TASK, "--labels", "train.csv", "--encoder", "none")
    assert "the current one is" in said(place, "promote", TASK, "--to", "full", code=1)
    assert "stays" not in place.run("freeze", TASK).stdout
    back = orjson.loads(place.run("demote", TASK, "--reason", "New products", "--json").stdout)
    assert [one["stage"] for one in back["history"]] == ["demoted", "full"]
    assert back["reason"] == "New products"
    acts = {one["action"] for one in orjson.loads(place.run("audit", "--json").stdout)}
    assert {"task.promote", "task.freeze", "task.demote"} <= acts


def test_labels_are_stored_for_jobs_of_their_task_only(place: Place) -> None:
    texts = "".join(orjson.dumps({"text": f"Where is order {n}?"}).decode() + "\n" for n in range(3))
    (place.folder / "rows.jsonl").write_text(texts)
    batch = orjson.loads(place.run("submit", "rows.jsonl", "--task", "labelled", "--wait", "--json").stdout)["id"]
    lines = [orjson.loads(line) for line in place.run("results", batch).stdout.splitlines()]
    jobs = [line["response"]["request_id"] for line in lines]
    (place.folder / "right.csv").write_text("job,label\n" + "".join(f"{job},order\n" for job in jobs))
    told = orjson.loads(place.run("label", "labelled", "--labels", "right.csv", "--json").stdout)
    assert told == {"task": "labelled", "labels": 3, "without_a_label": 0, "unknown_labels": []}
    strange = said(place, "label", "another", "--labels", "right.csv", code=1)
    assert "3 of the jobs are none of task another, or forgotten" in strange
    place.run("submit", "rows.jsonl", "--task", "labelled", "--wait")
    place.run("label", "labelled", "--draw", "2", "--out", "to-label.csv")
    drawn = (place.folder / "to-label.csv").read_text("utf-8").splitlines()
    assert (drawn[0], len(drawn)) == ("job,text,answer,label", 3)
    (place.folder / "to-label.csv").write_text("\n".join(drawn[:1] + [f"{line}order" for line in drawn[1:]]), "utf-8")
    assert "2 labels" in place.run("label", "labelled", "--labels", "to-label.csv").stdout
    assert "or --draw N" in said(place, "label", "labelled", code=2)
    (place.folder / "wrong.csv").write_text("job,label\nnot-a-job,order\n")
    assert "job" in said(place, "label", "labelled", "--labels", "wrong.csv", code=1)


def test_advice_and_report_are_told_of_what_ran(place: Place) -> None:
    (place.folder / "some.jsonl").write_text('{"text": "Where is my parcel?"}\n' * 5)
    place.run("submit", "some.jsonl", "--task", "parcels", "--wait")
    (found,) = orjson.loads(place.run("advise", "--task", "parcels", "--json").stdout)
    assert (found["task"], found["jobs"], found["reference"]) == ("parcels", 5, "fast")
    assert found["step"]["why"]
    assert "parcels" in place.run("advise").stdout
    place.run("report", "--html", "page.html")
    page = (place.folder / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "http" not in page.replace("http-equiv", "").lower()
    assert orjson.loads(place.run("report", "--json").stdout)["jobs"] >= 5
    assert "Nothing of a task was delivered" in said(
        place, "report", "--since", "2020-01-01", "--until", "2020-01-02", code=1
    )
