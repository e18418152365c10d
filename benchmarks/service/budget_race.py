"""Two hundred submits at once over HTTP against a budget for one: in how many of twenty runs exactly one is accepted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import httpx2

from benchmarks.report import Row, Scale, at_least, at_most, median, spread, told
from benchmarks.service.administering import admin, answered
from benchmarks.service.ours import BODY, Ours, service
from benchmarks.stack import fleet

AT_ONCE: Final = 200
RUNS: Final = 20
QUICK_RUNS: Final = 3
WITHIN_S: Final = 30.0
BOOKS: Final = "SELECT limit_usd, held_usd, spent_usd FROM budgets WHERE scope = 'project' AND period = 'total' AND limit_usd IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run."""

    answers: Mapping[int, int]
    """How many answers had each status."""
    seconds: float
    """From the first request until the last answer."""

    @property
    def holds(self) -> bool:
        return self.answers == {202: 1, 402: AT_ONCE - 1}


def measure(scale: Scale) -> list[Row]:
    with service(fleet()) as ours, admin(ours) as boss:
        runs = [_run(ours, boss, number) for number in range(QUICK_RUNS if scale.quick else RUNS)]
        over = [f"{row}" for row in _books(ours) if row[1] + row[2] > row[0] or row[1] < 0]
    right = sum(run.holds for run in runs)
    seconds = [run.seconds for run in runs]
    others = [dict(run.answers) for run in runs if not run.holds]
    return [
        at_least(f"runs of {len(runs)} in which exactly one of {AT_ONCE} was accepted", right, len(runs), "",
                 note=f"each in a new project whose budget is what one job can cost; all others 402; {others or 'no other outcome'}"),
        at_most("budgets that were passed", len(over), 0, "", note="held and spent, against the limit, once every job had ended"),
        told("until the last of them is answered", median(seconds), "s", note=spread(seconds)),
    ]  # fmt: skip


def _run(ours: Ours, boss: httpx2.Client, number: int) -> Run:
    """One race, in a project of its own."""
    name = f"race-{number}"
    hold = Decimal(answered(boss.post("/v1/explain", json={"body": BODY}))["route"]["hold_usd"])
    answered(boss.post("/v1/projects", json={"name": name}))
    key = answered(boss.post("/v1/keys", json={"name": name, "project": name}))["key"]
    answered(boss.put("/v1/budgets", json={"scope": "project", "named": name, "limit_usd": f"{hold:f}"}))
    ready = threading.Barrier(AT_ONCE + 1)
    limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=ours.target.url, headers=headers, timeout=60.0, limits=limits) as http:

        def ask(_: int) -> int:
            http.get("/livez")  # so that its connection is there
            ready.wait()
            return int(http.post("/v1/jobs", json={"body": BODY}).status_code)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = pool.map(ask, range(AT_ONCE))
            ready.wait()
            began = time.monotonic()
            answers = Counter(asked)
    return Run(answers, time.monotonic() - began)


def _books(ours: Ours) -> list[tuple[Decimal, Decimal, Decimal]]:
    """Limit, held and spent of every budget, once nothing is under way."""
    until = time.monotonic() + WITHIN_S
    with ours.stack.connect() as connection:
        while connection.execute("SELECT FROM jobs WHERE state < 10 LIMIT 1").fetchone() is not None:
            assert time.monotonic() < until, "the jobs do not end"
            time.sleep(0.1)
        return connection.execute(BOOKS).fetchall()
