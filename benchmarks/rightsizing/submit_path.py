"""What routing and thresholds take on the submit path: a job of a promoted task, prepared as a batch's rows are, beside one of no task."""

from __future__ import annotations

import random
import time
from dataclasses import replace

from benchmarks.report import Row, Scale, at_most, median, spread, told
from benchmarks.service.ours import service
from orchestrator import ids
from orchestrator.eligibility import Situation
from orchestrator.flow.context import Context, open_context
from orchestrator.flow.prepare import prepare
from orchestrator.hints import NO_HINTS
from orchestrator.promotion import Promotion
from orchestrator.requests import CHAT

LIMIT_MS = 3.0
ROWS = 5_000
TASK = "support-triage"
FLEET = """
[policy]
default_tier = "llm"
[models.specialist]
tier = "slm"
engine = "specialist"
slots = 64
expected_latency_s = 0.01
[[models.specialist.rates]]
request = "0.001"
[models.large]
tier = "llm"
engine = "simulated"
slots = 64
expected_latency_s = 2.0
[[models.large.rates]]
request = "0.05"
"""


def measure(scale: Scale) -> list[Row]:
    """Prepare rows in one process, with and without a promotion, in turns."""
    with service(FLEET) as ours:
        context = open_context(ours.stack.settings, "orchestrator", connections=1)
        try:
            bare = context.situation(1)
            promotion = Promotion(1, TASK, "full", "cert_x", "v1", "specialist", "large", 0.8, 1.0, 0.05)
            promoted = replace(bare, specialists=frozenset({TASK}), promotions={TASK: promotion})
            rounds = [
                (_ms(context, bare, None, scale), _ms(context, promoted, TASK, scale)) for _ in range(scale.rounds)
            ]
        finally:
            context.close()
    without, with_one = [one[0] for one in rounds], [one[1] for one in rounds]
    extra = [b - a for a, b in rounds]
    return [
        at_most("submit path: routing and thresholds of a promoted task", median(extra), LIMIT_MS, "ms", baseline=median(without),
                note=f"CPU a row beyond that of a row without a task, {scale.of(ROWS)} rows in one process; {spread(extra)}; baseline: such a row"),
        told("submit path: a row of a promoted task, whole", median(with_one), "ms", note=spread(with_one)),
    ]  # fmt: skip


def _ms(context: Context, now: Situation, task: str | None, scale: Scale) -> float:
    draw = random.Random(1)
    rows = [
        {"messages": [{"role": "user", "content": f"Where is order {draw.randrange(10**6)}? It should have come by now."}], "model": "auto"}
        | ({"rightsize": {"task": task}} if task else {})
        for _ in range(scale.of(ROWS))
    ]  # fmt: skip
    began = time.process_time()
    for at, body in enumerate(rows):
        prepare(context, CHAT, body, NO_HINTS, now, public_id=ids.uuid7().hex, row_number=at, custom_id=str(at))
    return 1000 * (time.process_time() - began) / len(rows)
