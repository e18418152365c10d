"""A worker is killed with -9 in the middle of 1,000 requests and started again: all complete, none twice, little again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.chaos import DOUBLED_CHARGES, DOUBLED_RESULTS, RERUN, violations
from benchmarks.produce import submit_by_flow
from benchmarks.report import Row, Scale, at_least, at_most, told
from benchmarks.vllm.cell import WARM_WITHIN_S, Ours, cell, chat

ROWS = 1_000
FEWEST = 400
"""Rows of a quick run as well: several times what the engine holds."""
TOKENS = 96
GONE_WITHIN_S = 10.0
IN_FLIGHT = """
    SELECT count(*) FROM jobs j JOIN dispatches d ON d.id = j.dispatch_id
    WHERE j.state = 2 AND d.claimed_at IS NOT NULL AND d.ended_at IS NULL
"""
SUCCEEDED = "SELECT count(DISTINCT j.id) FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.outcome = 'succeeded' WHERE j.state = 10"
CHARGES = "SELECT count(*) FROM transfers WHERE kind = 'charge'"
RECORDED = "SELECT job_id, created_at FROM attempts WHERE outcome = 'succeeded'"


def measure(path: Path, scale: Scale) -> list[Row]:
    rows = [chat(number, most=TOKENS) for number in range(max(FEWEST, scale.of(ROWS)))]
    with cell(path) as ours, ours.stack.connect() as connection:
        look = submit_by_flow(ours.context, rows)
        while look()[1] < len(rows) // 3:
            time.sleep(0.005)
        gone_s = kill(ours)
        done = dict(connection.execute(RECORDED).fetchall())
        in_flight = one(connection, IN_FLIGHT)
        assert in_flight, "the batch ended before the kill"
        started = time.monotonic()
        ours.stack.stop(ours.worker)
        ours.worker = ours.start_worker()
        warm_s = time.monotonic() - started
        until = started + WARM_WITHIN_S
        while look()[0] not in ("completed", "failed") and time.monotonic() < until:
            time.sleep(0.05)
        all_s = time.monotonic() - started
        after = dict(connection.execute(RECORDED).fetchall())
        again = one(connection, RERUN)
        succeeded, charges = one(connection, SUCCEEDED), one(connection, CHARGES)
        twice = one(connection, DOUBLED_RESULTS) + one(connection, DOUBLED_CHARGES)
        broken = violations(ours.stack)
    touched = sum(after.get(job) != at for job, at in done.items())
    shape = f"{len(rows)} rows of {TOKENS} tokens; {len(done)} were recorded at the kill, {in_flight} at the worker"
    return [
        at_least("requests complete after kill -9 of the worker", succeeded, len(rows), "jobs", note=shape),
        at_most("answers or charges that are there twice", twice, 0, "jobs", note=f"{charges} charges"),
        at_most("run again beyond what was in flight", max(0, again - in_flight) + touched, 0, "jobs", note=f"{again} of {in_flight} went back"),
        at_most("broken invariants", len(broken), 0, "checks", note="; ".join(broken)),
        told("from the new worker's start to the end of the batch", all_s, "s", note=f"of which {warm_s:.0f} s until the model is warm"),
        told("from the kill to the end of the old engine's processes", gone_s, "s"),
    ]  # fmt: skip


def kill(ours: Ours) -> float:
    """kill -9 of the worker alone, as the kernel does it for want of memory; seconds until its engine is gone as well."""
    children = psutil.Process(ours.worker.pid).children(recursive=True)
    os.kill(ours.worker.pid, signal.SIGKILL)
    started = time.monotonic()
    ours.worker.popen.wait()
    while left := [child for child in children if lives(child)]:
        assert time.monotonic() < started + GONE_WITHIN_S, f"the engine of a worker that was killed lives on: {left}"
        time.sleep(0.02)
    return time.monotonic() - started


def lives(process: psutil.Process) -> bool:
    """Whether it still holds memory: one that nobody waits for stays in the table of processes."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def one(connection: psycopg.Connection[Any], sql: str) -> int:
    """The one number that a statement finds."""
    row = connection.execute(sql).fetchone()
    assert row
    return int(row[0])
