"""Requests, histories and forecasts as tests of forecasting make them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from random import Random

from orchestrator.eligibility import estimate
from orchestrator.fleet import parse
from orchestrator.forecasting import (
    Forecast,
    Histories,
    History,
    Load,
    Moments,
    Rows,
    forecast,
)
from orchestrator.hints import Hints
from orchestrator.pricing import ZERO
from orchestrator.requests import CHAT, Features

DAY = date(2026, 11, 24)
FLEET = parse(
    {
        "models": {
            "small": {"tier": "slm", "engine": "simulated", "rates": [{"input": "0.10", "output": "0.20"}]},
            "large": {"tier": "llm", "engine": "simulated", "rates": [{"input": "1.00", "cached": "0.10", "output": "4.00"}]},
            "deep": {
                "tier": "rlm", "engine": "simulated", "reasoning": {"medium_tokens": 2_048}, "max_output_tokens": 4_096,
                "rates": [{"input": "2.00", "output": "8.00", "reasoning": "6.00"}],
            },
            "eyes": {
                "tier": "mllm", "engine": "simulated",
                "rates": [{"request": "0.01", "image": "0.02", "audio_second": "0.001", "input": "1.00", "output": "1.00"}],
            },
            "free": {"tier": "llm", "engine": "simulated", "free": True, "rates": [{"request": "0"}]},
        }
    },
    "the test's fleet",
).fleet  # fmt: skip
MODELS = FLEET.by_name
CARDS = {name: model.card_on(DAY) for name, model in MODELS.items()}
LOADS = {name: Load(slots=8, latency_s=1.0) for name in MODELS}
NOTHING = Histories({})
Job = tuple[float, tuple[float, ...]]


def request(task: str | None = "triage", read: int = 100, limit: int | None = None, **hints: object) -> Features:
    known = Hints(task=task, **hints)  # type: ignore[arg-type]
    return Features(CHAT, "auto", known, read, limit, known.samples or 1, None, 0, 0, ZERO, (), 0, read)


def rows(*features: Features, model: str = "large", into: Rows | None = None) -> Rows:
    found = Rows() if into is None else into
    for one in features:
        found.add(one, MODELS[model], estimate(one, MODELS[model], DAY))
    return found


def job(read: float = 100, said: float = 50, thought: float = 0, *, ok: bool = True, seconds: float = 1.0) -> Job:
    return read, ((1.0, read, 0.0, said, thought, seconds) if ok else (0.0, 0.0, 0.0, 0.0, 0.0, seconds))


def history(*batches: Sequence[Job]) -> History:
    return History(tuple(Moments.of(batch) for batch in batches))


def some_jobs(count: int, seed: int = 1, said: float = 50, **given_: float) -> list[Job]:
    draw = Random(seed)
    return [job(draw.randint(50, 150), max(1.0, draw.gauss(said, said / 4)), **given_) for _ in range(count)]


def told(found: Rows, known: Histories = NOTHING, loads: dict[str, Load] = LOADS) -> Forecast:
    return forecast(found, known, CARDS, loads)


def width(found: Forecast) -> float:
    cost = found.whole.cost_usd
    return float((cost.high - cost.low) / cost.expected)
