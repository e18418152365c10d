"""Machines priced by the hour, at random prices, under random work, some of them killed: do the books add up to the bill?

Every run has its own price, weights, lengths of answers and number of workers. `measure` takes 20 of them on one stack.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import psycopg

from benchmarks.chaos import violations
from benchmarks.processes import Process
from benchmarks.report import Row, Scale, at_most, percentile, spread, told
from benchmarks.stack import Stack

RUNS = 20
PACE = {
    "lease_s": 3,
    "heartbeat_s": 0.3,
    "recover_every_s": 0.3,
    "claim_by_s": 2,
    "machine_interval_s": 1,
    "stop_within_s": 5,
}
FLEET = """
[models.hourly]
tier = "llm"
engine = "simulated"
slots = {slots}
expected_latency_s = 0.02
[models.hourly.simulate]
latency_s = [0.001, {latency}]
output_tokens = [1, {longest}]
[models.hourly.weights]
prefill = {prefill}
cached = 0.01
decode = 1.0
[[models.hourly.rates]]
input = "0.10"
output = "0.40"
usd_per_hour = "{hour}"
"""
UNCLOSED = "SELECT count(*) FROM machine_intervals WHERE closed_at IS NULL"
# Of one worker: what was booked, by the intervals and by the ledger itself, and the time that it is for.
BOOKED = """
    SELECT i.worker_id::text, min(i.usd_per_hour), sum(extract(epoch FROM i.ended_at - i.started_at)), sum(i.bill_usd),
        sum(i.idle_usd), sum(coalesce(t.amount_usd, 0)), sum(coalesce(e.amount_usd, 0)), count(*), sum(i.attempts),
        max(abs(i.bill_usd - coalesce(t.amount_usd, 0) - coalesce(e.amount_usd, 0)))
    FROM machine_intervals i LEFT JOIN idle_transfers e ON e.interval_id = i.id
    LEFT JOIN (
        SELECT a.interval_id, sum(t.amount_usd) AS amount_usd FROM attempts a JOIN transfers t USING (job_id, attempt)
        WHERE t.kind = 'machine' GROUP BY 1
    ) t ON t.interval_id = i.id
    WHERE NOT i.worker_id::text = ANY(%s) GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how far its books are from its bill, in micro-dollars, and what there was of it."""

    apart: Decimal
    """Jobs plus idle against the hour, over all of its workers; and the worst interval, if that is further off."""
    bill_usd: Decimal
    idle_share: float
    intervals: int
    attempts: int
    killed: int


def measure(scale: Scale) -> list[Row]:
    """The rows for a report; a quick run takes two runs."""
    count, draw = scale.of(RUNS), random.Random(20)
    runs: list[Run] = []
    with Stack(_fleet(draw), **PACE) as stack:
        stack.orchestrator()
        caller = stack.start("caller", [sys.executable, "-m", "benchmarks.produce"], talks=True)
        caller.hear()
        with stack.connect() as connection:
            seen: list[str] = []
            for _ in range(count):
                stack.config.write_text(_fleet(draw))  # workers read it; the others know the model by its name
                runs.append(_run(stack, caller, connection, draw, seen))
        broken = violations(stack)
    killed = sum(run.killed for run in runs)
    about = f"{count} random runs, {sum(run.intervals for run in runs)} intervals, {sum(run.attempts for run in runs)} attempts, {killed} workers killed"
    return [
        at_most("books: jobs plus idle against the hour", float(max(run.apart for run in runs)), 0, "micro-dollars", note=about),
        at_most("books: broken invariants", len(broken), 0, "checks", note="; ".join(broken)),
        told("books: idle share of the bill", percentile([run.idle_share for run in runs], 0.5), "of 1",
             note=spread([run.idle_share for run in runs])),
    ]  # fmt: skip


def _fleet(draw: random.Random) -> str:
    hour = Decimal(draw.randrange(1, 10**11)).scaleb(-6 - draw.randrange(0, 4))
    return FLEET.format(
        slots=draw.randrange(1, 33), latency=draw.choice([0.002, 0.02, 0.1]), longest=draw.randrange(2, 500),
        prefill=round(draw.uniform(0.0, 0.5), 3), hour=f"{hour:f}",
    )  # fmt: skip


def _run(
    stack: Stack, caller: Process, connection: psycopg.Connection[Any], draw: random.Random, seen: list[str]
) -> Run:
    """Random work on random workers, of which some are killed; then what was booked for them. `seen` are the workers so far."""
    workers = [stack.worker() for _ in range(draw.randrange(1, 4))]
    caller.say(json.dumps({"jobs": draw.randrange(50, 600)}))
    doomed = [one for one in workers[1:] if draw.random() < 0.5]
    for one in doomed:
        time.sleep(draw.uniform(0.0, 0.5))
        one.kill()
    caller.hear()
    stack.stop(*workers)
    until = time.monotonic() + 30.0
    while _count(connection, UNCLOSED):
        assert time.monotonic() < until, "the books of dead workers stay open"
        time.sleep(0.1)
    rows = connection.execute(BOOKED, (seen,)).fetchall()
    assert len(rows) == len(workers), rows
    seen += [row[0] for row in rows]
    bill = sum((row[3] for row in rows), Decimal(0))
    off = [abs(row[5] + row[6] - _hour_usd(row[1], row[2])) for row in rows] + [row[9] for row in rows]
    idle = float(sum(row[4] for row in rows) / bill) if bill else 0.0
    return Run(max(off) * 10**6, bill, idle, sum(row[7] for row in rows), sum(row[8] for row in rows), len(doomed))


def _hour_usd(usd_per_hour: Decimal, seconds: Decimal) -> Decimal:
    """What a worker's whole time costs, to the nearest micro-dollar: reckoned from the hour, not from any interval."""
    micro = Fraction(usd_per_hour) * Fraction(seconds) * 10**6 / 3600
    return Decimal(int(micro + Fraction(1, 2))).scaleb(-6)


def _count(connection: psycopg.Connection[Any], sql: str) -> int:
    row = connection.execute(sql).fetchone()
    assert row
    return int(row[0])
