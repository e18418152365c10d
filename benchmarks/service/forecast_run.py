"""The same of batches that really run: the estimate over HTTP before each, against what it cost in the end.

The simulated engine says what a row's `metadata.expected` holds, so that the rows carry lengths drawn here, and its own draws decide how
long it thinks. The estimate sees none of it: it reads a prompt's length, the task's name, and what this tenant's jobs took before. What
this cannot show: both count a prompt's tokens alike, as characters by four, which a real model does not.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, Final

import httpx2

from benchmarks.report import Row, Scale, median, told
from benchmarks.service.administering import admin, answered
from benchmarks.service.forecast import LEAST, LIMIT, MOST, SEED, TASKS, Task
from benchmarks.service.ours import Ours, service

TENANTS: Final = 4
"""Each learns from its own jobs alone, and hands in one batch at a time."""
TRIALS: Final = 200
LEAST_TRIALS: Final = 100
"""Fewer tell too little for a verdict: chance alone moves the share of 100 by 4 points."""
WITHIN_S: Final = 120.0
"""After which no further batch is begun."""
EARLIER: Final = (1, 5)
"""Batches of each task before, at least and at most."""
ROWS: Final = (5, 400)
WORD: Final = "abc "
"""One token, as the engine counts: four bytes."""
FLEET: Final = """
[models.talker]
tier = "llm"
engine = "simulated"
slots = 64
default = true
expected_latency_s = 0.01
[models.talker.simulate]
obey_markers = true
[[models.talker.rates]]
input = "0.20"
cached = "0.05"
output = "0.80"

[models.thinker]
tier = "llm"
engine = "simulated"
slots = 64
expected_latency_s = 0.01
[models.thinker.reasoning]
medium_tokens = 2048
[models.thinker.simulate]
reasoning_tokens = [100, 1500]
[[models.thinker.rates]]
input = "2.00"
output = "8.00"
"""


@dataclass(frozen=True, slots=True)
class Held:
    """One batch: what was told of its cost, and what it cost."""

    low: Decimal
    expected: Decimal
    high: Decimal
    cost_usd: Decimal
    told_s: float
    """How long the estimate took."""

    @property
    def holds(self) -> bool:
        return self.low <= self.cost_usd <= self.high

    @property
    def width(self) -> float:
        """Of the interval, against what was expected."""
        return float((self.high - self.low) / self.expected)


def measure(scale: Scale) -> list[Row]:
    with service(FLEET) as ours, admin(ours) as boss:
        keys = [_key(boss, f"tenant-{number}") for number in range(TENANTS)]
        with ThreadPoolExecutor(TENANTS) as pool:
            began = time.monotonic()
            list(pool.map(lambda one: _learn(ours, *one), enumerate(keys)))
            learned_s = time.monotonic() - began
            until = time.monotonic() + WITHIN_S
            each = scale.of(TRIALS) // TENANTS
            runs = pool.map(lambda one: _trials(ours, *one, count=each, until=until), enumerate(keys))
            found = list(itertools.chain.from_iterable(runs))
    return rows(found, learned_s)


def rows(found: Sequence[Held], learned_s: float) -> list[Row]:
    share = sum(one.holds for one in found) / len(found)
    by_chance = 100 * math.sqrt(0.8 * 0.2 / len(found))
    above = sum(one.cost_usd > one.high for one in found)
    shape = (
        f"{len(found)} batches of 1 to 3 tasks of {len(TASKS)}, {ROWS[0]} to {ROWS[1]} rows, by {TENANTS} tenants with {EARLIER[0]} to "
        f"{EARLIER[1]} earlier batches of each task and what came since; estimated over HTTP, then run; chance alone: {by_chance:.1f} points "
        f"one way or the other; {above} cost more than told, {len(found) - above - round(share * len(found))} less"
    )
    enough = len(found) >= LEAST_TRIALS
    return [
        Row("true costs within the interval, batches that ran", round(100 * share, 1), "%",
            f"{100 * LEAST:g} to {100 * MOST:g}" if enough else None, LEAST <= share <= MOST if enough else None, note=shape),
        told("median width of the interval, batches that ran", 100 * median([one.width for one in found]), "%",
             note="of the expected cost"),
        told("median error of the expected cost, batches that ran",
             100 * median([abs(float(one.cost_usd / one.expected) - 1) for one in found]), "%"),
        told("until an estimate was told, median", median([one.told_s for one in found]), "s", note=f"{TENANTS} at once"),
        told("to run the earlier batches", learned_s, "s"),
    ]  # fmt: skip


def _key(boss: httpx2.Client, name: str) -> str:
    answered(boss.post("/v1/tenants", json={"name": name}))
    return str(answered(boss.post("/v1/keys", params={"tenant": name}, json={"name": name}))["key"])


def _client(ours: Ours, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=ours.target.url, headers={"Authorization": f"Bearer {key}"}, timeout=60.0)


def _learn(ours: Ours, number: int, key: str) -> None:
    """Run a tenant's earlier batches, some of each task."""
    draw = Random(SEED + number)
    with _client(ours, key) as http:
        for task in TASKS:
            for _ in range(draw.randint(*EARLIER)):
                _ended(http, _submitted(http, _uploaded(http, _lines(draw, task, _between(draw)))))


def _trials(ours: Ours, number: int, key: str, *, count: int, until: float) -> list[Held]:
    """So many further batches of a tenant, or as many as are begun in time."""
    draw = Random(SEED + TENANTS + number)
    found: list[Held] = []
    with _client(ours, key) as http:
        while len(found) < count and time.monotonic() < until:
            tasks = draw.sample(TASKS, draw.randint(1, 3))
            size = max(1, _between(draw) // len(tasks))
            found.append(_trial(http, [line for task in tasks for line in _lines(draw, task, size)]))
    return found


def _trial(http: httpx2.Client, lines: Sequence[dict[str, Any]]) -> Held:
    """Ask what a batch will cost, run it, and see what it did cost."""
    file = _uploaded(http, lines)
    asked = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
    began = time.monotonic()
    cost = answered(http.post("/v1/batches/estimate", json=asked))["total"]["cost_usd"]
    told_s = time.monotonic() - began
    batch = _ended(http, _submitted(http, file))
    low, expected, high = (Decimal(cost[name]) for name in ("low", "expected", "high"))
    return Held(low, expected, high, cost_usd=Decimal(batch["rightsize"]["cost_usd"]), told_s=told_s)


def _lines(draw: Random, task: Task, count: int) -> Iterator[dict[str, Any]]:
    """Rows of one task, which share what is common to a batch's answers."""
    effect = math.exp(draw.gauss(0, task.batches_differ))
    for number in range(count):
        body = _body(draw, task, effect)
        yield {"custom_id": f"{task.name}-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _body(draw: Random, task: Task, effect: float) -> dict[str, Any]:
    middle, sd = task.prompt
    read = max(8, round(middle * math.exp(draw.gauss(0, sd))))
    said = min(LIMIT, max(1, round(effect * task.answer(draw, read))))
    # A mark that the engine obeys takes the place of three words: what fails is no longer than what does not.
    text = "[[fail:400]]" + WORD * (read - 3) if draw.random() < task.fails else WORD * read
    body = {
        "model": task.model.name,
        "messages": [{"role": "user", "content": text}],
        "metadata": {"expected": (WORD * said).rstrip()},
        "rightsize": {"task": task.name},
    }
    return body if task.thought else {**body, "max_tokens": LIMIT}


def _between(draw: Random) -> int:
    """A number of rows, as likely between 5 and 50 as between 40 and 400."""
    low, high = ROWS
    return round(math.exp(draw.uniform(math.log(low), math.log(high))))


def _uploaded(http: httpx2.Client, lines: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> str:
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return str(
        answered(http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("rows.jsonl", content)}))["id"]
    )


def _submitted(http: httpx2.Client, file: str) -> str:
    asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return str(answered(http.post("/v1/batches", json=asked))["id"])


def _ended(http: httpx2.Client, batch_id: str) -> dict[str, Any]:
    """The batch, once it has ended."""
    until = time.monotonic() + WITHIN_S
    while (batch := answered(http.get(f"/v1/batches/{batch_id}")))["status"] not in ("completed", "failed"):
        assert time.monotonic() < until, f"{batch_id} does not end"
        time.sleep(0.05)
    assert batch["status"] == "completed", batch
    return batch
