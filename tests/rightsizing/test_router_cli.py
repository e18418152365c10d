"""`rightsize router` from end to end as a person types it: train, set a threshold, measure, show, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.place import Place
from tests.rightsizing.made_outcomes import CHANCES, made, write

COSTS = ("--cost", "small=0.001", "--cost", "large=0.05", "--cost", "poet=0.01")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with outcomes and a data directory in which a router was trained; no servers run, and none are needed."""
    folder = tmp_path_factory.mktemp("router")
    write(folder / "outcomes.csv", made(700, tuple(CHANCES)))
    write(folder / "fresh.csv", made(300, tuple(CHANCES), seed=3))
    made_place = Place(folder, folder / "data")
    trained = made_place.run("router", "train", "--outcomes", "outcomes.csv", *COSTS)
    assert "560 rows fitted, 140 held out" in trained.stdout
    assert "APGR" in trained.stdout
    assert "router calibrate --quality Q" in trained.stderr
    return made_place


def as_json(place: Place, *words: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.run("router", *words, "--json", code=code).stdout)
    return found


def test_a_threshold_is_set_for_a_quality_and_for_a_budget_and_shown(place: Place) -> None:
    quality = as_json(place, "calibrate", "--quality", "0.6", "--delta", "0.1")
    assert quality["issued"]
    assert quality["quality_bound"] >= 0.6
    budget = as_json(place, "calibrate", "--budget", "0.02")
    assert budget["cost_bound_usd"] <= 0.02
    assert as_json(place, "show")["rule"]["asked"] == {"quality": None, "budget_usd": 0.02}
    told = place.run("router", "show").stdout
    assert "Rule: A job takes at most" in told
    assert "at least" in place.run("router", "calibrate", "--quality", "0.5").stdout


def test_what_cannot_be_shown_leaves_with_1_and_says_what_would_do(place: Place) -> None:
    refused = place.run("router", "calibrate", "--quality", "0.99", code=1)
    assert "Nothing is issued" in refused.stdout
    assert "lower the quality" in refused.stdout


def test_figures_are_told_as_a_table_and_as_json(place: Place) -> None:
    found = as_json(place, "evaluate", "--outcomes", "fresh.csv")
    assert (found["n"], found["rows"]) == (300, {"from": "fresh.csv", "seen": 0, "incomplete": 0})
    assert found["apgr"]["low"] < found["apgr"]["value"] < found["apgr"]["high"]
    assert set(found["cpt"]) == {"50%", "80%"}
    assert len(found["curve"]) == len(found["random_mixing"]) == 21
    assert {one["model"] for one in found["best_single"]} <= set(CHANCES)
    told = place.run("router", "evaluate", "--outcomes", "outcomes.csv").stdout
    assert "140 rows (560 left out" in told
    assert "random mixing" in told


@pytest.mark.parametrize(
    "words,code,said",
    [
        (("calibrate",), 2, "either --budget USD or --quality Q"),
        (("calibrate", "--quality", "0.6", "--budget", "1"), 2, "either --budget USD or --quality Q"),
        (("calibrate", "--quality", "60"), 1, "between 0 and 1"),
        (("calibrate", "--quality", "0.6", "--delta", "0.7"), 1, "delta"),
        (("calibrate", "--budget", "0.0001"), 1, "Raise it"),
        (("calibrate", "--quality", "0.6", "--cost", "other=1"), 1, "not learned other"),
        (("calibrate", "--quality", "0.6", "--cost", "small"), 2, "small-model=0.001"),
        (("evaluate", "--outcomes", "none.csv"), 1, "Cannot read"),
        (("train", "--outcomes", "three.csv"), 1, "there are 3 to learn from"),
        (("train", "--outcomes", "one.csv"), 1, "fewer than 10"),
    ],
)
def test_what_is_wrong_is_refused_with_a_remedy(place: Place, words: tuple[str, ...], code: int, said: str) -> None:
    (place.folder / "three.csv").write_text("prompt,a,b\none,0,1\ntwo,1,1\nthree,0,0\n")
    rows = "".join(f"prompt {at},1,{at % 2}\n" for at in range(150))
    (place.folder / "one.csv").write_text(f"prompt,a,b\n{rows}")
    done = place.run("router", *words, code=code)
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_router_that_was_changed_on_disk_is_refused_by_name(place: Place, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(place.data_dir, tmp_path / "data")
    (model,) = (tmp_path / "data").rglob("model.npz")
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = Place(place.folder, tmp_path / "data").run("router", "show", code=1)
    assert "model.npz is not the file" in done.stderr
    none = Place(place.folder, tmp_path / "none").run("router", "show", code=1)
    assert "router train --outcomes" in none.stderr
