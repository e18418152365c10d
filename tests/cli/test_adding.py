"""`rightsize models add`: a checked table, or a refusal that changes nothing."""

from __future__ import annotations

import struct
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator import fleet
from tests.cli.place import FLEET, Place

PRICED = ("--input", "0.15", "--output", "0.60")


def gguf(context: int) -> bytes:
    """A whole GGUF file of version 3 with one small tensor, of a model that was trained for so many tokens."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    named = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    trained = text(b"llama.context_length") + struct.pack("<II", 4, context)
    tensor = text(b"token_embd.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + named + trained + tensor
    return header + bytes(-len(header) % 32) + bytes(32)


def weights(place: Place, name: str = "Some Model.Q4.gguf", context: int = 8192) -> Path:
    file = place.folder / name
    file.write_bytes(gguf(context))
    return file


def copied(place: Place) -> Path:
    file = place.folder / "mine.toml"
    file.write_text("# mine\n" + FLEET.read_text())
    return file


def models(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))["models"]
    return found


def test_a_gguf_file_is_added_for_llama_cpp_and_the_rest_of_the_file_stays(empty: Place) -> None:
    file, before = copied(empty), copied(empty).read_text()
    done = empty.run("models", "add", str(weights(empty)), "--tier", "slm", "--free", "--config", str(file))
    assert "Added some-model-q4" in done.stdout
    assert "Jobs of tier slm go to" in done.stderr
    assert file.read_text().startswith(before.rstrip("\n"))
    added = fleet.load(file).fleet.by_name["some-model-q4"]
    assert (added.tier, added.engine, added.slots, added.free) == ("slm", "llamacpp", 4, True)
    assert added.path == str(weights(empty))
    assert added.max_input_tokens + added.max_output_tokens == 4096, (
        "what a slot of llama.cpp holds, unless it is told to hold more"
    )
    assert "context_per_slot to their sum" in done.stderr
    weights(empty, "short.gguf", context=512)
    empty.run("models", "add", "short.gguf", "--tier", "slm", "--free", "--config", str(file))
    short = fleet.load(file).fleet.by_name["short"]
    assert (short.max_input_tokens, short.max_output_tokens) == (384, 128)


def test_a_folder_and_a_hub_id_are_added_for_vllm(empty: Place) -> None:
    file = copied(empty)
    folder = empty.folder / "made"
    folder.mkdir()
    refused = empty.run("models", "add", "made", "--tier", "llm", *PRICED, "--config", str(file), code=1)
    assert "holds no config.json" in refused.stderr
    (folder / "config.json").write_text('{"text_config": {"max_position_embeddings": 16384}}')
    empty.run("models", "add", "made", "--tier", "llm", *PRICED, "--slots", "64", "--config", str(file))
    empty.run("models", "add", "Org/Some-8B", "--tier", "rlm", *PRICED, "--name", "deep.one", "--config", str(file))
    made, deep = models(file)["made"], models(file)["deep.one"]
    assert (made["engine"], made["path"], made["slots"]) == ("vllm", str(folder), 64)
    assert made["max_input_tokens"] + made["max_output_tokens"] == 16384
    assert (deep["engine"], deep["path"], deep["rates"][0]["output"]) == ("vllm", "Org/Some-8B", "0.60")


def test_without_a_file_one_is_made_of_the_sample_fleet(empty: Place) -> None:
    file = empty.folder / "new.toml"
    done = empty.run("models", "add", str(weights(empty)), "--tier", "slm", "--free", "--config", str(file))
    assert "it is made of the sample fleet" in done.stderr
    assert {"sim-llm", "some-model-q4"} <= set(models(file))
    fleet.load(file)


@pytest.mark.parametrize(
    "words, told",
    [
        (["Some Model.Q4.gguf", "--tier", "slm"], "What does it cost?"),
        (["Some Model.Q4.gguf", "--tier", "slm", "--input", "1"], "together"),
        (["Some Model.Q4.gguf", "--tier", "slm", "--free", *PRICED], "exclude each other"),
        (["Some Model.Q4.gguf", "--tier", "slm", "--free", "--engine", "vllm"], "Leave --engine out"),
        (["text.gguf", "--tier", "slm", "--free"], "is no GGUF file"),
        (["missing.gguf", "--tier", "slm", "--free"], "There is no missing.gguf"),
        (["Org/Model", "--tier", "llm", "--free", "--name", "auto"], "may not be named auto"),
        (["Org/Model", "--tier", "llm", "--free", "--name", "with space"], "can be no name"),
        (["Org/Model", "--tier", "llm", *PRICED, "--default"], "Take `default = true` out of [models."),
        (["empty.gguf", "--tier", "slm", "--free"], "it holds no model"),
        (["odd.gguf", "--tier", "slm", "--free"], "is a broken GGUF file"),
        (["Org/Model", "--tier", "llm", "--usd-per-hour", "2"], "Give --input and --output beside it"),
        (["half.gguf", "--tier", "slm", "--free"], "is a broken GGUF file"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(words: list[str], told: str, empty: Place) -> None:
    file = copied(empty)
    before = file.read_bytes()
    weights(empty)
    (empty.folder / "text.gguf").write_text("no model")
    (empty.folder / "empty.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(8))
    (empty.folder / "odd.gguf").write_bytes(
        gguf(512).replace(struct.pack("<I", 8) + struct.pack("<Q", 5), struct.pack("<I", 10) + struct.pack("<Q", 5))
    )
    (empty.folder / "half.gguf").write_bytes(gguf(512)[:40])
    done = empty.run("models", "add", *words, "--config", str(file), code=1)
    assert told in done.stderr
    assert file.read_bytes() == before


def test_a_name_that_is_taken_is_refused(empty: Place) -> None:
    file = copied(empty)
    words = ("models", "add", str(weights(empty)), "--tier", "slm", "--free", "--config", str(file))
    empty.run(*words)
    before = file.read_bytes()
    assert "has a model some-model-q4 already" in empty.run(*words, code=1).stderr
    assert file.read_bytes() == before


def test_models_that_are_added_at_once_are_all_there(empty: Place) -> None:
    file = copied(empty)
    words = ("models", "add", str(weights(empty)), "--tier", "slm", "--free", "--config", str(file), "--name")
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(empty.run, *words, f"r{number}") for number in range(4)]:
            done.result()
    assert {f"r{number}" for number in range(4)} <= set(models(file))


def test_flags_belong_behind_the_command_that_takes_them(empty: Place) -> None:
    done = empty.run("models", "--json", "add", "Org/Model", "--tier", "llm", "--free", code=2)
    assert "--json belongs behind `models add`" in " ".join(done.stderr.split())
