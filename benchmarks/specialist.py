"""CPU of the specialist engine for a row of a ticket's length: 10,000 rows through `perform`, as a worker's dispatches come.

The time is that of the whole process (`time.process_time`: every thread, and the loop's own work with requests and
answers). The baseline is the same specialist asked row by row, each prediction on its own. One specialist looks at n-grams alone, the other
at sentence vectors too.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.report import Row, Scale, at_most, median, spread, told
from benchmarks.stack import ROOT
from orchestrator import fleet
from orchestrator.learned.encoder import encoders_of, open_encoder
from orchestrator.rightsizing.training.train import train
from workers.engines.base import EngineRequest
from workers.engines.specialist import SpecialistEngine

TASK = "support-triage"
LIMIT_MS = 1.0
WITH_VECTORS_MS = 3.0
STARTED_AT_ONCE = 32
"""As the worker starts the jobs of a dispatch, see `workers/runtime.py`."""
DISPATCH = 500
LONG = 8
"""Tickets in one text, for a row as long as a page of an e-mail."""


def measure(scale: Scale) -> list[Row]:
    """Tickets in batches, beside the same one by one, and long ones."""
    rows = scale.of(10_000)
    with tempfile.TemporaryDirectory() as place:
        texts = _train(Path(place))
        runs = [asyncio.run(_in_batches(Path(place), texts, rows)) for _ in range(scale.rounds)]
        alone = asyncio.run(_one_by_one(Path(place), texts, max(1, rows // 10)))
        long = [" ".join(texts[start : start + LONG]) for start in range(0, len(texts), LONG)]
        of_long, _ = asyncio.run(_in_batches(Path(place), long, rows // LONG))
        _train(Path(place), with_vectors=True)
        of_vectors, _ = asyncio.run(_in_batches(Path(place), texts, rows))
    words, long_words = (median([len(text.split()) for text in some]) for some in (texts, long))
    used, rate = [one[0] for one in runs], [one[1] for one in runs]
    return [
        at_most("specialist: CPU a row in batches", median(used), LIMIT_MS, "ms", baseline=alone,
                note=f"{rows} rows of {words:.0f} words (median), all threads; {spread(used)}; baseline: one by one"),
        at_most("specialist: CPU a long row", of_long, LIMIT_MS, "ms",
                note=f"{rows // LONG} rows of {long_words:.0f} words (median)"),
        at_most("specialist: CPU a row in batches, with sentence vectors", of_vectors, WITH_VECTORS_MS, "ms",
                note=f"{rows} rows of {words:.0f} words (median)"),
        told("specialist: rows a second", median(rate), "1/s", note=spread(rate)),
    ]  # fmt: skip


def _train(blobs: Path, *, with_vectors: bool = False) -> list[str]:
    """Train on the examples' labelled tickets; gives other tickets, which it has not seen."""
    labelled = _tickets("tickets-train.csv")
    encoder = open_encoder(encoders_of(blobs)) if with_vectors else None
    train([text for text, _ in labelled], [label for _, label in labelled], TASK, blobs, encoder=encoder)
    return [text for text, _ in _tickets("tickets.csv")]


def _tickets(name: str) -> list[tuple[str, str]]:
    with (ROOT / "examples" / name).open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def _engine(blobs: Path) -> SpecialistEngine:
    row = {
        "tier": "slm",
        "engine": "specialist",
        "slots": 64,
        "rates": [{"from": date(2026, 1, 1), "request": "0.00002"}],
    }
    table = {"policy": {"default_tier": "slm"}, "models": {"specialist": row}}
    return SpecialistEngine(fleet.parse(table, "benchmark").fleet.models[0], blobs)


def _request(number: int, text: str) -> EngineRequest:
    body = {"model": "specialist", "messages": [{"role": "user", "content": text}]}
    return EngineRequest(str(number), "/v1/chat/completions", body, TASK, 60.0)


async def _in_batches(blobs: Path, texts: Sequence[str], rows: int) -> tuple[float, float]:
    """CPU milliseconds a row, and rows a second."""
    engine = _engine(blobs)
    await engine.load()
    await engine.perform(_request(-1, texts[0]))  # the specialist is loaded with its first request
    asks = [_request(number, text) for number, text in zip(range(rows), itertools.cycle(texts), strict=False)]
    began, cpu = time.monotonic(), time.process_time()
    for start in range(0, rows, DISPATCH):
        await _dispatch(engine, asks[start : start + DISPATCH])
    used, took = time.process_time() - cpu, time.monotonic() - began
    await engine.close()
    return used / rows * 1000, rows / took


async def _dispatch(engine: SpecialistEngine, asks: Sequence[EngineRequest]) -> None:
    """Start the requests as the worker does, and wait for all of them."""
    tasks = []
    for place, ask in enumerate(asks, 1):
        tasks.append(asyncio.create_task(engine.perform(ask)))
        if place % STARTED_AT_ONCE == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)


async def _one_by_one(blobs: Path, texts: Sequence[str], rows: int) -> float:
    engine = _engine(blobs)
    await engine.load()
    await engine.perform(_request(-1, texts[0]))
    cpu = time.process_time()
    for number, text in zip(range(rows), itertools.cycle(texts), strict=False):
        await engine.perform(_request(number, text))
    used = time.process_time() - cpu
    await engine.close()
    return used / rows * 1000
