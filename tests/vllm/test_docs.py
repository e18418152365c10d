"""Every option that docs/models.md shows is one that the installed vLLM takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InvalidConfig
from orchestrator.fleet import Model
from tests.docs_check import Block, fleet_shown, pages, split
from tests.vllm.fleet import model
from workers.engines._vllm.start import engine_arguments

BLOCKS = [block for page in pages() for block in split(page)[0] if block.language == "toml"]


@pytest.fixture(autouse=True)
def _as_with_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, vLLM looks for a model's files as soon as its arguments are made. These ids are on no disk here, and none is loaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def here(one: Model, weights: Path) -> Model:
    """The model as it is on a machine where its folder is: what is looked for before vLLM's arguments are made."""
    return one.model_copy(update={"path": str(weights)}) if str(one.path).startswith("/") else one


def shown(block: Block) -> list[Model]:
    """The models of a block that vLLM would load."""
    return [one for one in fleet_shown(block).models if one.engine == "vllm"]


MODELS = [(block, one) for block in BLOCKS for one in shown(block)]
each_model = pytest.mark.parametrize(
    "block, one", MODELS, ids=[f"{block.page.name}:{block.line}:{one.name}" for block, one in MODELS]
)


@each_model
def test_every_vllm_argument_of_a_page_is_one_of_the_installed_vllms_with_a_value_that_it_takes(
    block: Block, one: Model, weights: Path
) -> None:
    placed = here(one, weights)
    made = engine_arguments(placed)
    assert made.model == placed.path
    for key, value in one.vllm.items():
        taken = getattr(made, key)
        assert taken == value or isinstance(value, dict), f"{key} became {taken}"


def test_the_page_shows_an_llm_a_reasoning_and_a_seeing_model_and_what_it_shows_is_looked_at() -> None:
    on_page = [one for block, one in MODELS if block.page.name == "models.md"]
    assert {one.tier for one in on_page} == {"slm", "llm", "rlm", "mllm"}
    arguments = {key for one in on_page for key in one.vllm}
    assert {"revision", "quantization", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
            "distributed_executor_backend", "speculative_config", "enable_prefix_caching", "limit_mm_per_prompt",
            "cpu_offload_gb", "max_loras", "gpu_memory_utilization", "max_model_len", "dtype"} <= arguments  # fmt: skip
    for wrong in ({"max_modle_len": 1}, {"kv_cache_dtype": "fp7"}, {"tensor_parallel_size": "many"}):
        with pytest.raises(InvalidConfig, match="vLLM"):
            engine_arguments(model("org/any", vllm=wrong))


@each_model
def test_adapters_that_are_shown_turn_them_on(block: Block, one: Model, weights: Path) -> None:
    made = engine_arguments(here(one, weights))
    assert bool(made.enable_lora) == bool(one.adapters)
    assert not one.adapters or made.max_loras > len(one.adapters)


@each_model
def test_parsers_of_thoughts_and_tool_calls_are_vllms(block: Block, one: Model, weights: Path) -> None:
    from transformers import AutoTokenizer
    from vllm.tool_parsers import ToolParserManager

    from workers.engines.thinking import marks_of

    if one.tool_parser is not None:
        assert ToolParserManager.get_tool_parser(one.tool_parser)
    if one.reasoning is not None:
        marks = marks_of(one.reasoning, AutoTokenizer.from_pretrained(weights))
        assert marks.begin
        assert marks.end
