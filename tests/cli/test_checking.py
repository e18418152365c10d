"""`rightsize models check` on models that answer, models that do not, and files that it may write."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.pricing import HOUR_KEY
from tests.cli.place import Place
from tests.workers.engines.openai_server import OpenAIServer, in_thread

QUICK = ("--seconds", "0.1")


def fleet_at(place: Place, address: str, **more: str) -> Path:
    """A rightsize.toml in the working folder with one model behind that address."""
    lines = "".join(f"{name} = {value}\n" for name, value in more.items())
    path = place.folder / "own.toml"
    path.write_text(
        f'# ours\n[models.remote]  # the big one\ntier = "llm"\nengine = "openai"\naddress = "{address}"\nslots = 2\n{lines}'
        '[[models.remote.rates]]\ninput = "1.00"  # of old\n'
    )
    return path


@pytest.fixture
def server() -> Any:
    with in_thread() as running:
        yield running


def test_every_kind_that_a_simulated_fleet_claims_is_asked_and_nothing_is_started(empty: Place) -> None:
    done = empty.run("models", "check", "thinker", *QUICK)
    for kind in ("text", "image", "completion", "embedding", "classes", "scores"):
        assert f"\n{kind} " in done.stdout
    assert "output tokens/s" in done.stdout
    assert "simulated: the figures are those of its options" in done.stdout
    assert "thinker: asking: text" in done.stderr
    assert not empty.data_dir.exists()


def test_a_specialist_is_asked_as_its_task_and_one_without_training_is_not_sound(empty: Place) -> None:
    told = empty.run("models", "check", "specialist", *QUICK, code=1).stderr
    assert "Not sound: specialist." in told
    assert "Train one: rightsize train TASK --labels FILE.csv" in told
    rows = "".join(f"red apple {n},fruit\nold train {n},travel\n" for n in range(20))
    (empty.folder / "train.csv").write_text(f"text,label\n{rows}")
    empty.run("train", "topics", "--labels", "train.csv")
    done = empty.run("models", "check", "specialist", *QUICK, "--usd-per-hour", "0.5", "--json")
    (found,) = orjson.loads(done.stdout)["models"]
    assert found["unit"] == "answers"
    assert [check["state"] for check in found["checks"]] == ["sound"]
    assert found["rates"].keys() == {"request", "hour"}


def test_what_was_measured_is_written_and_the_rest_of_the_file_stays(server: OpenAIServer, empty: Place) -> None:
    path = fleet_at(empty, server.address())
    before = path.read_text()
    empty.run("models", "check", "--config", str(path), *QUICK, "--usd-per-hour", "2.50")
    assert path.read_text() == before, "only --write writes"
    done = empty.run("models", "check", "--config", str(path), *QUICK, "--usd-per-hour", "2.50", "--write", "--json")
    (found,) = orjson.loads(done.stdout)["models"]
    assert found["written"]
    rest = iter(path.read_text().splitlines())
    assert all(line in rest for line in before.splitlines() if not line.startswith("slots"))
    table = tomllib.loads(path.read_text())["models"]["remote"]
    assert table["slots"] == found["suggested"]["slots"]
    assert table["expected_latency_s"] == found["suggested"]["expected_latency_s"]
    card = table["rates"][1]
    written = {name: card[key] for name, key in {"input": "input", "output": "output", "hour": HOUR_KEY}.items()}
    assert written == found["rates"]
    assert [one.name for one in empty.folder.iterdir()] == ["own.toml"]


def test_a_server_that_lacks_a_kind_is_no_failure_and_one_that_is_away_is(server: OpenAIServer, empty: Place) -> None:
    path = fleet_at(empty, server.address("status-500"))
    before = path.read_text()
    told = empty.run("models", "check", "--config", str(path), *QUICK, "--write", code=1).stderr
    assert "remote, text, image, completion, embedding, classes, scores: server_error" in told
    assert "check again" in told
    assert path.read_text() == before
    path = fleet_at(empty, "http://127.0.0.1:9/v1")
    assert "connection_failed" in empty.run("models", "check", "--config", str(path), *QUICK, code=1).stderr


def test_a_model_that_cannot_be_loaded_says_why_and_the_next_one_is_checked(server: OpenAIServer, empty: Place) -> None:
    path = fleet_at(empty, server.address(), api_key_env='"NO_SUCH_VARIABLE"')
    with path.open("a") as file:
        file.write('[models.sim]\ntier = "slm"\nengine = "simulated"\n[[models.sim.rates]]\nrequest = "0.1"\n')
    done = empty.run("models", "check", "--config", str(path), *QUICK, "--json", code=1)
    found = {one["model"]: one for one in orjson.loads(done.stdout)["models"]}
    assert "NO_SUCH_VARIABLE is not set" in found["remote"]["checks"][0]["problem"]
    assert [found[name]["sound"] for name in ("remote", "sim")] == [False, True]


def test_wrong_names_prices_and_places_are_refused_before_anything_is_loaded(empty: Place) -> None:
    assert "Known: auto" in empty.run("models", "check", "nobody", code=1).stderr
    told = empty.run("models", "check", "--usd-per-hour", "lots", code=2).stderr
    assert "US dollars above 0" in " ".join(told.replace("│", "").split())
    done = empty.run(shell="unset RIGHTSIZE_CONFIG; $r models check --write", code=1)
    assert "the built-in sample fleet" in done.stderr
