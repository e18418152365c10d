"""20,000 jobs while every worker is killed with -9 every three seconds for a minute: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import psycopg

from benchmarks.processes import Process
from benchmarks.report import Row, Scale, at_most, told
from benchmarks.stack import Stack, fleet
from orchestrator.store import invariants
from orchestrator.store.session import Database

WORKERS = 2
EVERY_S = 3.0
LATENCY_S = (0.002, 0.006)
SLOTS = 3
"""So few that the jobs last about as long as the killing does."""
MOST_ATTEMPTS = 4
PACE = {"lease_s": 3, "heartbeat_s": 1, "recover_every_s": 0.5, "claim_by_s": 3}

LOST = "SELECT count(*) FROM jobs WHERE state < 10"
NOT_SUCCEEDED = "SELECT count(*) FROM jobs WHERE state > 10"
DOUBLED_RESULTS = """
    SELECT (SELECT count(*) FROM (SELECT FROM results GROUP BY job_id HAVING count(*) > 1) r)
        + (SELECT count(*) FROM (SELECT FROM attempts WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1) a)
"""
DOUBLED_CHARGES = (
    "SELECT count(*) FROM (SELECT FROM transfers WHERE kind = 'charge' GROUP BY job_id HAVING count(*) > 1) t"
)
RESULTS = "SELECT count(*) FROM results"
RERUN = "SELECT count(*) FROM jobs WHERE requeued"
ENDINGS = "SELECT coalesce(ending, 'open'), count(*) FROM dispatches GROUP BY 1 ORDER BY 1"


def measure(scale: Scale) -> list[Row]:
    jobs = scale.of(20_000)
    kill_for_s = 15.0 if scale.quick else 60.0
    with Stack(fleet(slots=SLOTS, latency_s=LATENCY_S), **PACE) as stack:
        stack.orchestrator()
        workers = [stack.worker() for _ in range(WORKERS)]
        caller = stack.start("caller", [sys.executable, "-m", "benchmarks.produce"], talks=True)
        caller.hear()
        with stack.connect() as connection:
            caller.say(json.dumps({"jobs": jobs}))
            left = _kill_again_and_again(stack, workers, connection, kill_for_s)
            killed = time.monotonic()
            told_by_caller = caller.hear()
            after_s = time.monotonic() - killed
            found = {name: _one(connection, sql) for name, sql in {
                "lost": LOST, "not succeeded": NOT_SUCCEEDED, "results": DOUBLED_RESULTS, "charges": DOUBLED_CHARGES,
                "stored": RESULTS, "rerun": RERUN}.items()}  # fmt: skip
            endings = ", ".join(f"{ending} {count}" for ending, count in connection.execute(ENDINGS))
        broken = violations(stack)
    kills = f"{len(left)} times {WORKERS} workers; jobs left at each kill: {', '.join(map(str, left))}"
    return [
        at_most(
            "from the last kill until all is complete",
            after_s,
            60.0,
            "s",
            note=f"ended as {told_by_caller['status']}; {kills}",
        ),
        at_most(
            "lost",
            found["lost"] + jobs - found["stored"] - found["not succeeded"],
            0,
            "jobs",
            note=f"{found['stored']} results",
        ),
        at_most(
            "ended without an answer",
            found["not succeeded"],
            0,
            "jobs",
            note="attempts spent on workers that were killed",
        ),
        at_most("doubled results", found["results"], 0, "jobs"),
        at_most("double charges", found["charges"], 0, "jobs"),
        at_most("broken invariants", len(broken), 0, "checks", note="; ".join(broken)),
        told("jobs that came back and ran again", found["rerun"], "jobs", note=f"dispatches: {endings}"),
    ]


def _kill_again_and_again(
    stack: Stack, workers: list[Process], connection: psycopg.Connection[Any], for_s: float
) -> list[int]:
    """kill -9 of all workers, started again at once; returns how many jobs were left each time."""
    left: list[int] = []
    first = time.monotonic()
    while (due := first + EVERY_S * (len(left) + 1)) <= first + for_s + 0.001:
        time.sleep(max(0.0, due - time.monotonic()))
        left.append(_one(connection, LOST))
        for worker in workers:
            worker.kill()
            stack.stop(worker)
        workers[:] = [stack.worker_unready() for _ in range(WORKERS)]
    return left


def violations(stack: Stack) -> list[str]:
    """Invariants that do not hold."""
    database = Database(stack.settings, "orchestrator", connections=1)
    with database.unit_of_work() as session:
        broken = invariants.check(session, grace_s=10.0, most_attempts=MOST_ATTEMPTS)
        found = [f"{one.name}: {one.says} ({', '.join(one.examples)})" for one in broken]
    database.close()
    return found


def _one(connection: psycopg.Connection[Any], sql: str) -> int:
    row = connection.execute(sql).fetchone()
    assert row
    return int(row[0])
