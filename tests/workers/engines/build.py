"""Models and requests for the tests of engines."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator import fleet
from workers.engines import open_engine
from workers.engines.base import Engine, EngineRequest

CHAT = "/v1/chat/completions"


def model(engine: str, **table: Any) -> fleet.Model:
    """A model of the fleet, as rightsize.toml would give it."""
    rates = [{"from": date(2026, 1, 1), "request": "0.001"}]
    row = {"tier": "slm" if engine == "specialist" else "llm", "engine": engine, "rates": rates, **table}
    policy = {"default_tier": row["tier"]}
    return fleet.parse({"models": {"under-test": row}, "policy": policy}, "test").fleet.models[0]


def engine(name: str, blobs: Path = Path("unused"), **table: Any) -> Engine:
    return open_engine(model(name, **table), blobs)


def chat(
    text: str = "What is six times seven?",
    *,
    job: str = "job_1",
    task: str | None = None,
    seconds_left: float = 60.0,
    **body: Any,
) -> EngineRequest:
    messages = [{"role": "user", "content": text}]
    return EngineRequest(job, CHAT, {"model": "auto", "messages": messages, **body}, task, seconds_left)


def completion(text: str = "Six times seven is", **body: Any) -> EngineRequest:
    return EngineRequest("job_1", "/v1/completions", {"prompt": text, **body}, None, 60.0)


def embeddings(*texts: str, **body: Any) -> EngineRequest:
    return EngineRequest("job_1", "/v1/embeddings", {"input": list(texts), **body}, None, 60.0)


def alike(one: Any, other: Any) -> bool:
    """Whether two answers say the same, but for the last places of their numbers: what runs beside a request changes those."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return math.isclose(one, other, abs_tol=1e-5) if isinstance(one, float) else one == other
