"""Reports of cost add up to the ledger in every form, and what work would cost is told before it runs."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from tests.cli.place import Place


def test_costs_by_several_keys_are_the_same_in_json_csv_and_the_table(place: Place) -> None:
    place.batch("One", "Two")
    today = datetime.now(UTC).date()
    since = ("--since", str(today - timedelta(days=1)))
    found = orjson.loads(place.run("cost", "--by", "tier,day", *since, "--json").stdout)
    assert {"key", "tier", "day", "jobs", "attempts", "charge_usd", "cost_usd", "house_usd"} <= set(found["data"][0])
    assert found["data"][0]["key"] == f"{found['data'][0]['tier']},{found['data'][0]['day']}"
    charged = Decimal(found["total"]["charge_usd"])
    assert sum(Decimal(one["charge_usd"]) for one in found["data"]) == charged > 0
    rows = list(csv.DictReader(io.StringIO(place.run("cost", "--by", "tier,day", *since, "--csv").stdout)))
    assert list(rows[0])[:3] == ["tier", "day", "jobs"]
    assert sum(Decimal(one["charge_usd"]) for one in rows) == charged
    told = place.run("cost", "--by", "tier,day", *since).stdout
    assert str(today) in told
    assert place.run("cost", "--until", "2020-01-01").stdout.split()[-6:-3] == ["0", "0", "0"]


def test_costs_by_api_key_keep_the_joined_key_apart(place: Place) -> None:
    place.batch("One")
    found = orjson.loads(place.run("cost", "--by", "project,key,task", "--json").stdout)["data"]
    (bare,) = [one for one in found if one["task"] is None]  # other tests of this worker's place have tasks
    assert bare["api_key"].startswith("key_")
    assert bare["key"] == f"{bare['project']},{bare['api_key']},"


def test_a_batch_s_own_costs_are_those_of_its_status(place: Place) -> None:
    batch = place.batch("One", "Two", "[[fail:400]]")
    found = orjson.loads(place.run("cost", "--batch", batch, "--by", "model", "--json").stdout)
    assert (found["total"]["jobs"], found["total"]["failed_attempts"]) == (2, 1)
    shown = orjson.loads(place.run("status", batch, "--json").stdout)
    assert Decimal(found["total"]["charge_usd"]) == Decimal(shown["rightsize"]["cost_usd"])


@pytest.mark.parametrize(
    "words, told",
    [
        ("cost --by nothing", "1 to 4 of tenant, project"),
        ("cost --by tier,model,day,task,key", "1 to 4 of tenant, project"),
        ("cost --since yesterday", "such as 2026-11-01"),
        ("cost --csv --json", "both want standard output"),
    ],
)
def test_a_wrong_report_is_refused_before_anything_starts(words: str, told: str, empty: Place) -> None:
    said = " ".join(empty.run(*words.split(), code=2).stderr.replace("│", "").split())
    assert told in said
    assert not empty.data_dir.exists()


def test_machines_stand_alone(place: Place) -> None:
    assert "nothing else" in place.run("cost", "--machines", "--since", "2026-11-01", code=1).stderr
    assert orjson.loads(place.run("cost", "--machines", "--json").stdout) == []


def test_prices_are_told_with_their_days(place: Place) -> None:
    found = {one["model"]: one for one in orjson.loads(place.run("prices", "--json").stdout)}
    assert found["fast"]["in_force"]
    told = place.run("prices").stdout
    assert "$2.00 per M output" in told
    assert "in force" in told


def test_an_estimate_tells_tiers_intervals_and_alternatives_and_runs_nothing(place: Place) -> None:
    (place.folder / "rows.csv").write_text("text\n" + "".join(f"Where is order {n}?\n" for n in range(30)))
    before = place.run("cost", "--by", "day", "--json").stdout
    words = ["estimate", "rows.csv", "--instructions", "Name the topic."]
    found = orjson.loads(place.run(*words, "--json").stdout)
    assert (found["rows"], set(found["tiers"])) == (30, {"llm"})
    cost = {name: Decimal(value) for name, value in found["total"]["cost_usd"].items()}
    assert cost["low"] <= cost["expected"] <= cost["high"]
    assert {"llm", "rlm"} <= set(found["alternatives"])
    done = place.run(*words, "--max-cost-usd", "0.000001", "--deadline", "1s")
    assert "As the rows would be routed" in done.stdout
    assert "80% between" in done.stdout
    assert "All that a tier could serve" in done.stdout
    assert "It may cost more than $0.000001" in done.stderr
    assert place.run("cost", "--by", "day", "--json").stdout == before
    assert orjson.loads(place.run("estimate", "-", "--json", input='{"text": "One"}\n').stdout)["rows"] == 1
    assert "no row that could be run" in place.run("estimate", "-", input="{broken\n", code=1).stderr
    assert "does not exist" in place.run("estimate", "none.csv", code=2).stderr
