"""What is wrong with a GGUF file or an option is said when it is loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InvalidConfig
from tests.weights import smollm2_gguf
from tests.workers.engines.build import chat, completion, model
from tests.workers.engines.test_llamacpp import build, refused, with_engine
from workers.engines._llamacpp.gguf import read_weights
from workers.engines._llamacpp.options import Options, context_of, options_of, physical_cores, threads_of


def load_fails(path: Path, **table: Any) -> str:
    async def main() -> str:
        made = build(path, **table)
        try:
            with pytest.raises(InvalidConfig) as caught:
                await made.load()
        finally:
            await made.close()
        return caught.value.message

    return asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("share", [0.00001, 0.01, 0.5, 0.999], ids=str)
def test_half_a_file_is_refused_at_load(share: float, tmp_path: Path) -> None:
    whole = smollm2_gguf().read_bytes()
    half = tmp_path / "half.gguf"
    half.write_bytes(whole[: int(len(whole) * share)])
    message = load_fails(half)
    assert "is a broken GGUF file" in message
    assert "Fetch it again" in message


def test_what_is_no_gguf_file_is_refused_at_load(tmp_path: Path) -> None:
    text = tmp_path / "model.gguf"
    text.write_text("not a model")
    assert "is not a GGUF file" in load_fails(text)
    assert "No such file" in load_fails(tmp_path / "missing.gguf")
    assert "is a folder" in load_fails(tmp_path)


def test_an_architecture_that_llama_cpp_does_not_know_is_refused_at_load(tmp_path: Path) -> None:
    changed = tmp_path / "changed.gguf"
    shutil.copyfile(smollm2_gguf(), changed)
    name = struct.pack("<Q", len("general.architecture")) + b"general.architecture" + struct.pack("<IQ", 8, 5)
    with changed.open("r+b") as file:
        at = file.read(100_000).index(name + b"llama") + len(name)
        file.seek(at)
        file.write(b"lemma")
    message = load_fails(changed)
    assert "'lemma'" in message
    assert "llama.cpp cannot load" in message


def test_a_file_without_a_chat_template_serves_completions_alone(tmp_path: Path) -> None:
    bare = tmp_path / "bare.gguf"
    bare.write_bytes(smollm2_gguf().read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_tamplete", 1))

    async def body(made: Any) -> None:
        assert made.limits().endpoints == {"/v1/completions"}
        fault = await refused(made, chat("x"))
        assert (fault.fault_code, fault.retryable) == ("unsupported_endpoint", False)
        assert "no chat template" in fault.message
        assert (
            await made.perform(completion("Once upon a", max_tokens=3, structured_outputs={"regex": "[a-z ]{60}"}))
        ).usage.output_tokens == 3

    with_engine(body, path=bare)


def test_a_context_that_the_model_or_the_machine_has_not_is_refused_at_load() -> None:
    assert "was trained for 8,192 tokens" in load_fails(smollm2_gguf(), llamacpp={"context_per_slot": 100_000})
    weights = read_weights(smollm2_gguf(), "models.m.path")
    assert weights.kv_bytes == 23_040
    huge = model("llamacpp", path="m.gguf", slots=256)
    with pytest.raises(InvalidConfig, match="this machine has"):
        context_of(huge, Options(context_per_slot=8192), replace(weights, kv_bytes=2**30))


@pytest.mark.parametrize(
    "table, words",
    [
        ({"thread": 2}, r"models\.under-test\.llamacpp\.thread: .* Known keys: threads, workers_on_host"),
        ({"threads": 0}, r"models\.under-test\.llamacpp\.threads"),
        ({"flash_attention": "yes"}, r"models\.under-test\.llamacpp\.flash_attention"),
    ],
)
def test_a_wrong_option_is_named(table: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        options_of(model("llamacpp", path="m.gguf", llamacpp=table))


def test_threads_fit_the_machine_and_are_shared_by_its_workers() -> None:
    cores = physical_cores()
    assert 1 <= cores <= (os.cpu_count() or 1)
    assert threads_of(Options()) == cores
    assert threads_of(Options(workers_on_host=2)) == max(1, cores // 2)
    assert threads_of(Options(workers_on_host=500)) == 1
    assert threads_of(Options(threads=3, workers_on_host=2)) == 3
