"""LoRA adapters: a request names one, the others of its batch are not touched by it, and no cache mixes them up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.weights import tiny
from orchestrator.contracts import Answer
from orchestrator.errors import EngineFault, InvalidConfig
from tests.conftest import Servers
from tests.stack import chat, row
from tests.vllm.conftest import Run, stack_of, start_worker
from tests.vllm.fleet import fleet_toml, model
from tests.workers.engines import build
from workers.engines._vllm.start import engine_arguments
from workers.engines.vllm import VLLMEngine

LONG = "Where is my card, and when does the money come back? " * 40
NAMES = (None, "loud", "odd")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two adapters of different rank."""
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "loud": str(tiny.adapter(folder / "loud", seed=1)),
        "odd": str(tiny.adapter(folder / "odd", seed=2, rank=12)),
    }


@pytest.fixture(scope="module")
def adapted(weights: Path, adapters: dict[str, str], run: Run[Any]) -> Iterator[VLLMEngine]:
    made = VLLMEngine(model(weights, slots=8, adapters=adapters, vllm={"max_model_len": 2048, "dtype": "float32"}))
    run(made.load())
    yield made
    run(made.close())


async def asked(engine: VLLMEngine, name: str | None, text: str = LONG, **body: Any) -> Answer:
    request = build.chat(text, temperature=0, max_tokens=16, **body)
    return await engine.perform(replace(request, adapter=name))


def said(answer: Answer) -> str:
    return str(answer.body["choices"][0]["message"]["content"])


def test_requests_with_and_without_an_adapter_run_together_and_prefix_caching_does_not_mix_them_up(
    adapted: VLLMEngine, run: Run[Any]
) -> None:
    alone = [run(asked(adapted, name)) for name in NAMES]
    # The base model has the whole prompt in its cache when the adapters are asked: nothing of it counts for them.
    assert [answer.usage.cached_tokens for answer in alone] == [0, 0, 0]
    assert len({said(answer) for answer in alone}) == 3

    async def together() -> list[Answer]:
        return await asyncio.gather(*(asked(adapted, name) for name in NAMES * 4))

    for name, answer in zip(NAMES * 4, run(together()), strict=True):
        assert said(answer) == said(alone[NAMES.index(name)])
        assert answer.usage.cached_tokens > 0
        assert answer.usage.input_tokens == alone[0].usage.input_tokens
        assert answer.model_revision == alone[0].model_revision + (f"+{name}" if name else "")


def test_a_stream_answers_with_the_adapter_too(adapted: VLLMEngine, run: Run[Any]) -> None:
    request = replace(build.chat(LONG, temperature=0, max_tokens=16), adapter="loud")

    async def read() -> list[Any]:
        return [chunk async for chunk in adapted.stream(request)]

    *_, last = run(read())
    assert said(last.answer) == said(run(asked(adapted, "loud")))
    assert last.answer.model_revision.endswith("+loud")


def test_an_adapter_that_the_model_lacks_is_refused_for_good(adapted: VLLMEngine, run: Run[Any]) -> None:
    with pytest.raises(EngineFault, match=r"no adapter quiet\. It has loud, odd") as caught:
        run(asked(adapted, "quiet"))
    assert (caught.value.fault_code, caught.value.retryable) == ("unknown_adapter", False)


def test_the_engine_has_room_for_the_adapters_of_its_table(weights: Path, adapters: dict[str, str]) -> None:
    made = engine_arguments(model(weights, adapters=adapters))
    assert (made.enable_lora, made.max_loras, made.max_cpu_loras, made.max_lora_rank) == (True, 3, 3, 16)
    made = engine_arguments(model(weights, adapters=adapters, vllm={"max_loras": 4, "max_lora_rank": 64}))
    assert (made.enable_lora, made.max_loras, made.max_cpu_loras, made.max_lora_rank) == (True, 4, 4, 64)
    assert not engine_arguments(model(weights)).enable_lora
    with pytest.raises(InvalidConfig, match=r"max_loras must be 3 or more for 2 adapters on a CPU"):
        engine_arguments(model(weights, adapters=adapters, vllm={"max_loras": 2}))


@pytest.mark.parametrize(
    "path, told",
    [
        ("/nowhere/loud", "adapters.loud: there is nothing at /nowhere/loud. Give the folder"),
        ("{here}", "holds no adapter_config.json that can be read"),
        ("{here}/rankless", "names no rank `r`"),
    ],
)
def test_an_adapter_that_is_not_there_is_said_at_the_start(weights: Path, tmp_path: Path, path: str, told: str) -> None:
    (tmp_path / "rankless").mkdir()
    (tmp_path / "rankless" / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidConfig) as caught:
        engine_arguments(model(weights, adapters={"loud": path.format(here=tmp_path)}))
    assert told in caught.value.message


def test_an_adapter_of_another_model_is_said_at_the_start(weights: Path, tmp_path: Path, run: Run[Any]) -> None:
    folder = tiny.adapter(tmp_path / "cut")
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    made = VLLMEngine(model(weights, adapters={"cut": str(folder)}, vllm={"max_model_len": 512}))
    with pytest.raises(InvalidConfig, match=r"adapters\.cut cannot be loaded\. vLLM says: "):
        run(made.load())
    run(made.close())


def test_the_rows_of_a_batch_name_their_adapters(
    servers: Servers, weights: Path, adapters: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = "\n".join(["[models.tiny.adapters]", *(f'{name} = "{path}"' for name, path in adapters.items())])
    toml = fleet_toml(weights).replace("max_model_len = 8192", 'max_model_len = 2048\ndtype = "float32"')
    with stack_of(servers, tmp_path_factory.mktemp("lora"), f"{toml}\n{table}\n") as stack:
        stack.orchestrator()
        start_worker(stack)
        body = {"temperature": 0, "max_tokens": 16, "reasoning_effort": "none"}
        named = {name: {"rightsize": {"adapter": name}} if name else {} for name in NAMES}
        rows = [row(f"{name}-{turn}", chat(LONG, **body, **named[name])) for turn in range(4) for name in NAMES]
        batch = stack.submit(rows)
        assert stack.wait(batch, 60).status == "completed"
        stack.must_hold(batch, len(rows))
        found: dict[str, set[str]] = {}
        for line in stack.lines(batch):
            content = line["response"]["body"]["choices"][0]["message"]["content"]
            found.setdefault(line["custom_id"].partition("-")[0], set()).add(content)
        assert [len(texts) for texts in found.values()] == [1, 1, 1]
        assert len(set().union(*found.values())) == 3
