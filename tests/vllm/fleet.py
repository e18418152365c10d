"""Models in vLLM, as rightsize.toml would give them, and engines of them that are warm."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator import fleet
from workers.engines.vllm import VLLMEngine

FLEET = """
[policy]
max_attempts = 4
retry_base_s = 0.1
retry_max_s = 0.5

[models.tiny]
tier = "llm"
engine = "vllm"
path = "{path}"
slots = 32
expected_latency_s = 0.2
max_output_tokens = 64
[models.tiny.reasoning]
opens = true
low_tokens = 24
[models.tiny.vllm]
max_model_len = 8192
[[models.tiny.rates]]
input = "1.00"
cached = "0.10"
output = "2.00"
reasoning = "3.00"
"""


def fleet_toml(path: Path) -> str:
    """A fleet of one small model in vLLM."""
    return FLEET.format(path=path)


def model(path: Path | str, **table: Any) -> fleet.Model:
    """A model with some options."""
    row = {
        "tier": "llm",
        "engine": "vllm",
        "path": str(path),
        "rates": [{"from": date(2026, 1, 1), "input": "1"}],
        **table,
    }
    policy = {"default_tier": row["tier"]}
    return fleet.parse({"models": {"under-test": row}, "policy": policy}, "test").fleet.models[0]


@contextmanager
def warm(folder: Path, run: Callable[[Coroutine[Any, Any, None]], None], kind: str, most: int) -> Iterator[VLLMEngine]:
    """A warm engine of random weights that takes up to `most` things of a kind, `image` or `audio`."""
    table = {"max_model_len": 2048, "kv_cache_memory_bytes": 2**27, "limit_mm_per_prompt": {kind: most}}
    made = VLLMEngine(model(folder, tier="mllm", slots=4, vllm=table, max_output_tokens=16))
    run(made.load())
    try:
        yield made
    finally:
        run(made.close())
