"""The fleet and the rows of `make demo-real`; `make demo-real` itself runs them where vLLM is installed."""

from __future__ import annotations

import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import demo_real
from orchestrator import fleet
from orchestrator.eligibility import Situation
from orchestrator.fleet import Config
from orchestrator.hints import Hints
from orchestrator.requests import features_of
from orchestrator.routing import route


def config() -> Config:
    return fleet.parse(tomllib.loads(demo_real.fleet_toml(Path("/w/a.gguf"), Path("/w/folder"))), "demo-real")


def test_the_real_models_serve_slm_and_llm_and_the_rest_is_simulated() -> None:
    assert {(one.tier, one.engine) for one in config().fleet.models} == {
        ("slm", "specialist"), ("slm", "llamacpp"), ("llm", "vllm"), ("rlm", "simulated"), ("mllm", "simulated"),
    }  # fmt: skip


def test_every_model_gets_rows_though_none_of_them_names_a_tier() -> None:
    found = config()
    now = Situation(found.fleet, found.policy, {"support-triage"}, datetime.now(UTC).date())
    rows = demo_real.rows()
    assert {row["body"]["model"] for row in rows} == {"auto"}
    routed = Counter(route(features_of(row["url"], row["body"], Hints()), now).model for row in rows)
    assert routed == {
        "specialist": 60, "smollm2-llamacpp": 6, "smollm2-vllm": 12, "sim-rlm": 6, "sim-mllm": 4,
    }  # fmt: skip
