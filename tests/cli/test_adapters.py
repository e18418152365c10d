"""`rightsize models add ADAPTER --base NAME`: a sound adapter becomes one line, and anything else a refusal that changes nothing."""

from __future__ import annotations

import json
import struct
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator import fleet
from orchestrator.cli import adapter_folder
from orchestrator.cli.adapter_folder import CONFIG, WEIGHTS, check_fits, contents, read
from orchestrator.cli.adapters import with_adapter
from orchestrator.errors import InvalidConfig, InvalidRequest, TooLarge
from tests.cli.place import Place

FLEET = """\
# Ours: keep it tidy.
[policy]
default_tier = "llm"

[models.house]  # the large one
tier = "llm"
engine = "vllm"
path = "{path}"   # on this disk
slots = 8
# how vLLM starts
[models.house.vllm]
max_model_len = 2048
[[models.house.rates]]
input = "1"
output = "2"

# The next one has nothing to do with it.
[models.other]
tier = "slm"
engine = "simulated"
[[models.other.rates]]
input = "1"
output = "2"
"""
WIDTH, RANK = 16, 4
LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")
TOLD: dict[str, Any] = {
    "peft_type": "LORA",
    "r": RANK,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "org/base",
    "bias": "none",
}
Shapes = dict[str, tuple[int, ...]]
HALVES: Shapes = {
    f"base_model.model.{layer}.lora_{half}.weight": shape
    for layer in LAYERS
    for half, shape in (("A", (RANK, WIDTH)), ("B", (2 * WIDTH, RANK)))
}
BASE: Shapes = {f"{layer}.weight": (2 * WIDTH, WIDTH) for layer in LAYERS}


def packed(shapes: Shapes, kind: str = "F32") -> bytes:
    """A safetensors file of zeros."""
    told, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        told[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps({"__metadata__": {"format": "pt"}, **told}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(at)


def adapter(folder: Path, shapes: Shapes = HALVES, **told: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({**TOLD, **told}))
    (folder / WEIGHTS).write_bytes(packed(shapes))
    return folder


def base(folder: Path, shapes: Shapes = BASE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(packed(shapes))
    return folder


def house(place: Place) -> Path:
    """A rightsize.toml whose model `house` lies beside it, under the name that the adapter knows."""
    base(place.folder / "base")
    file = place.folder / "mine.toml"
    file.write_text(FLEET.format(path="base"))
    return file


def added(place: Place, file: Path, folder: Path, *more: str, code: int = 0) -> str:
    done = place.run("models", "add", str(folder), "--base", "house", "--config", str(file), *more, code=code)
    return done.stdout + " ".join(done.stderr.split())


def test_an_adapter_becomes_a_line_below_its_model_and_no_other_byte_changes(empty: Place) -> None:
    file, folder = house(empty), adapter(empty.folder / "support")
    before = file.read_text()
    told = added(empty, file, folder)
    assert "Added the adapter support to house" in told
    assert "rank 4, 2 layers" in told
    assert "rightsize models check house" in told
    line = f'[models.house.adapters]\nsupport = "{folder}"\n'
    assert file.read_text() == before.replace("slots = 8\n", f"slots = 8\n{line}")
    assert fleet.load(file).fleet.by_name["house"].adapters == {"support": str(folder)}
    added(empty, file, adapter(empty.folder / "odd one"), "--name", "Odd.1")
    assert fleet.load(file).fleet.by_name["house"].adapters == {
        "support": str(folder),
        "Odd.1": str(empty.folder / "odd one"),
    }


def test_a_relative_folder_is_written_down_whole_and_nothing_is_copied(empty: Place) -> None:
    file = house(empty)
    adapter(empty.folder / "training" / "adapter")
    added(empty, file, Path("training/../training/adapter"), "--name", "support")
    assert fleet.load(file).fleet.adapters == {"support": ("house",)}
    written = tomllib.loads(file.read_text())["models"]["house"]["adapters"]
    assert written == {"support": str(empty.folder / "training" / "adapter")}


def test_what_is_wrong_is_refused_by_the_command_and_nothing_is_written(empty: Place) -> None:
    file, folder = house(empty), adapter(empty.folder / "support")
    before = file.read_bytes()
    assert (
        "No model is called 'nope'"
        in empty.run("models", "add", str(folder), "--base", "nope", "--config", str(file), code=1).stderr
    )
    assert (
        "only vllm loads adapters"
        in empty.run("models", "add", str(folder), "--base", "other", "--config", str(file), code=1).stderr
    )
    assert "--slots is the base model's business" in added(empty, file, folder, "--slots", "4", code=2)
    assert "can be no name" in added(empty, file, folder, "--name", "with space", code=1)
    assert "There is no folder" in added(empty, file, empty.folder / "gone", code=1)
    assert "no model to add an adapter to" in added(empty, empty.folder / "none.toml", folder, code=1)
    assert "a model needs --tier" in empty.run("models", "add", str(folder), "--free", code=2).stderr
    assert file.read_bytes() == before
    assert not (empty.folder / "none.toml").exists()


def test_adapters_that_are_added_at_once_are_all_there(empty: Place) -> None:
    file, folder = house(empty), adapter(empty.folder / "support")
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(added, empty, file, folder, "--name", f"a{number}") for number in range(3)]:
            done.result()
    assert set(fleet.load(file).fleet.by_name["house"].adapters) == {"a0", "a1", "a2"}


def test_weights_are_still_added_as_they_were(empty: Place) -> None:
    file = house(empty)
    empty.run("models", "add", "Org/Some-8B", "--tier", "llm", "--free", "--config", str(file))
    assert fleet.load(file).fleet.by_name["some-8b"].path == "Org/Some-8B"


@pytest.mark.parametrize(
    "told, words",
    [
        ({"r": 0}, "a rank `r` that is none"),
        ({"r": "4"}, "a rank `r` that is none"),
        ({"r": True}, "a rank `r` that is none"),
        ({"r": 1024}, "1 to 512"),
        ({"rank_pattern": {"q_proj": -1}}, "a rank `r` that is none"),
        ({"rank_pattern": [4]}, "a rank `r` that is none"),
        ({"r": 8}, "do not fit each other and the rank"),
        ({"peft_type": "IA3"}, "adapters of the kind 'IA3'"),
        ({"peft_type": None}, "LORA is what it knows"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"init_lora_weights": "pissa"}, "changes the base model itself"),
        ({"target_modules": None}, "names no target_modules"),
        ({"target_modules": []}, "names no target_modules"),
        ({"target_modules": ["v_proj"]}, "none of the target_modules"),
        ({"base_model_name_or_path": None}, "names no base model"),
    ],
)
def test_a_configuration_that_vllm_would_not_take_is_refused(told: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(adapter(tmp_path / "a", **told))
    assert words in caught.value.message


def test_ranks_of_single_layers_and_patterns_of_targets_are_taken(tmp_path: Path) -> None:
    wide = {
        name: tuple(12 if length == RANK else length for length in shape)
        for name, shape in HALVES.items()
        if ".1." in name
    }
    folder = adapter(
        tmp_path / "a", {**HALVES, **wide}, rank_pattern={"1.self_attn.q_proj": 12}, target_modules="all-linear"
    )
    found = read(folder)
    assert (found.rank, found.base, dict(found.modules)) == (12, "org/base", dict.fromkeys(LAYERS, (2 * WIDTH, WIDTH)))


@pytest.mark.parametrize(
    "shapes, words",
    [
        ({}, "holds no layer"),
        ({name: shape for name, shape in HALVES.items() if "lora_A" in name}, "do not fit each other"),
        ({**HALVES, "model.norm.weight": (WIDTH,)}, "no part of a LoRA adapter"),
        ({**HALVES, next(iter(HALVES)): (RANK + 1, WIDTH)}, "do not fit each other"),
        ({**HALVES, next(iter(HALVES)): (RANK, WIDTH, 1)}, "no part of a LoRA adapter"),
    ],
)
def test_weights_that_are_no_adapter_are_refused(shapes: Shapes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(adapter(tmp_path / "a", shapes))
    assert words in caught.value.message


def test_a_folder_without_sound_files_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(InvalidRequest, match=r"is a pickle.*safe_serialization"):
        read(folder)
    for content in (b"", b"[]", b"{", b"\xff", b" " * (adapter_folder.MOST_CONFIG_BYTES + 1)):
        (folder / CONFIG).write_bytes(content)
        with pytest.raises(InvalidRequest, match="is no JSON object"):
            read(folder)
    (folder / CONFIG).unlink()
    with pytest.raises(InvalidRequest, match=f"holds no {CONFIG} that can be read"):
        read(folder)


def test_weights_beyond_the_bound_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter(tmp_path / "a")
    monkeypatch.setattr(adapter_folder, "MOST_WEIGHTS_BYTES", 100)
    with pytest.raises(TooLarge, match="an adapter is smaller"):
        read(folder)


def broken() -> dict[str, bytes]:
    whole = packed(HALVES)
    length = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    first = next(name for name in header if name != "__metadata__")

    def with_header(change: Any) -> bytes:
        text = json.dumps({**header, first: {**header[first], **change}}).encode()
        return struct.pack("<Q", len(text)) + text + data

    twice = b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'
    return {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "one byte short": whole[:-1],
        "one byte long": whole + b"\0",
        "no header": struct.pack("<Q", 0),
        "a header beyond the file": struct.pack("<Q", 10**12) + b"{}",
        "no JSON": struct.pack("<Q", 4) + b"abcd",
        "a list": struct.pack("<Q", 2) + b"[]",
        "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
        "a name twice": struct.pack("<Q", len(twice)) + twice,
        "overlap": with_header({"data_offsets": [4, 4 + RANK * WIDTH * 4]}),
        "another shape": with_header({"shape": [RANK, WIDTH + 1]}),
        "a negative shape": with_header({"shape": [-RANK, -WIDTH]}),
        "an unknown kind": with_header({"dtype": "F31"}),
        "backwards": with_header({"data_offsets": [RANK * WIDTH * 4, 0]}),
    }


@pytest.mark.parametrize("kind", broken())
def test_a_file_of_weights_is_held_against_its_table_of_contents(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(broken()[kind])
    with pytest.raises(InvalidRequest, match=r"is not whole: .*Copy it again"):
        contents(file)


def test_a_whole_file_tells_its_tensors(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(packed(HALVES))
    assert {name: one.shape for name, one in contents(file).items()} == HALVES


def test_an_adapter_of_another_model_is_found_by_the_shapes_of_its_layers(tmp_path: Path) -> None:
    found = read(adapter(tmp_path / "a"))
    assert check_fits(found, "house", str(base(tmp_path / "base"))) == ""
    with pytest.raises(InvalidRequest, match=r"32 x 16 numbers, and in house it has 32 x 8.*org/base"):
        check_fits(found, "house", str(base(tmp_path / "narrow", dict.fromkeys(BASE, (2 * WIDTH, WIDTH // 2)))))
    shallow = {name: shape for name, shape in BASE.items() if ".0." in name}
    with pytest.raises(
        InvalidRequest, match=r"changes model\.layers\.1\.self_attn\.q_proj, which house .* does not have"
    ):
        check_fits(found, "house", str(base(tmp_path / "shallow", shallow)))


def test_where_no_weights_are_here_the_names_must_agree(tmp_path: Path) -> None:
    found = read(adapter(tmp_path / "a"))
    assert "only the name was compared" in check_fits(found, "house", "org/base")
    assert "only the name was compared" in check_fits(found, "house", "another-org/Base")
    with pytest.raises(
        InvalidRequest, match=r"was trained on org/base, and house is org/other.*base_model_name_or_path"
    ):
        check_fits(found, "house", "org/other")
    assert "Make sure that this is the same model" in check_fits(found, "house", str(base(tmp_path / "copy")))
    kept = "/hub/models--org--base/snapshots/0123abc"
    assert (
        check_fits(read(adapter(tmp_path / "b", base_model_name_or_path=kept)), "house", str(base(tmp_path / "base")))
        == ""
    )


def test_a_model_that_turns_adapters_off_or_holds_smaller_ones_only_is_named(empty: Place) -> None:
    file, folder = house(empty), adapter(empty.folder / "support")
    text = file.read_text()
    for line, words in (("enable_lora = false", "turns enable_lora off"), ("max_lora_rank = 2", "max_lora_rank is 2")):
        file.write_text(text.replace("max_model_len = 2048", line))
        assert words in added(empty, file, folder, code=1)


@pytest.mark.parametrize(
    "head, tail",
    [
        ("[models.house]\nx = 1\n", "\n# of b\n[models.b]\n"),
        ("# c\r\n[models.house]  # d\r\nx = [\r\n  1,\r\n]\r\n", "\r\n[models.b]\r\n"),
        ('[models."house"]\nx = """\n[models.b]\n# no comment\n"""\n', "[[models.house.rates]]\ny = 1\n"),
        ("[models.b]\nx = 1\n[ models . house ]\n", "[models.house.vllm]\ny = 1\n"),
        ("[models.house]\nx = 1", ""),
        ("[models.house.vllm]\ny = 1\n[models.house]\nx = 1\n", "\n"),
    ],
)
def test_the_line_stands_behind_the_entries_of_its_table_whatever_is_around(head: str, tail: str) -> None:
    once = with_adapter(head + tail, "here", "house", "a", "/srv/a")
    end = "\r\n" if "\r\n" in head else "\n"
    whole_head = head if head.endswith("\n") else head + end
    assert once == f'{whole_head}[models.house.adapters]{end}a = "/srv/a"{end}{tail}'
    twice = with_adapter(once, "here", "house", "b.c", '/srv/"b"')
    assert twice == f'{whole_head}[models.house.adapters]{end}a = "/srv/a"{end}"b.c" = "/srv/\\"b\\""{end}{tail}'


@pytest.mark.parametrize(
    "text",
    [
        "models = { house = { x = 1 } }\n",
        '[models.house]\nadapters = { old = "/x" }\n',
        '[models.house]\nadapters.old = "/x"\n',
    ],
)
def test_a_table_without_a_place_for_a_line_is_left_alone_and_the_line_is_shown(text: str) -> None:
    with pytest.raises(InvalidConfig, match=r'write this in by hand: \[models\.house\.adapters\] a = "/srv/a"'):
        with_adapter(text, "here", "house", "a", "/srv/a")


def test_a_name_that_the_model_has_is_refused() -> None:
    text = '[models.house]\n[models.house.adapters]\na = "/srv/old"\n'
    with pytest.raises(InvalidConfig, match="has an adapter a already, /srv/old"):
        with_adapter(text, "here", "house", "a", "/srv/new")
