"""Our service under test: API, orchestrator and one worker beside their servers, and what each of them uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks import arms
from benchmarks.processes import cpu_s
from benchmarks.service.generator import Target
from benchmarks.stack import Stack

BODY: Final = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Where is my order? I would like to know when it comes."}],
}
ANSWERED: Final = """
    SELECT count(*), count(*) FILTER (WHERE j.state = 10), count(r.job_id), count(t.job_id)
    FROM jobs j LEFT JOIN results r ON r.job_id = j.id
    LEFT JOIN transfers t ON t.job_id = j.id AND t.kind = 'charge' WHERE j.id > %s
"""


def busy_s() -> float:
    """CPU-seconds so far in which this machine's cores worked, for us or for anybody."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


@dataclass(frozen=True, slots=True)
class Ours:
    """The running service."""

    stack: Stack
    target: Target
    pids: Mapping[str, int]
    """By part, in the order of a request's path."""

    def cpu_s(self) -> dict[str, float]:
        """CPU-seconds so far of each part, with its children."""
        return {part: cpu_s([pid]) for part, pid in self.pids.items()}

    def last_job(self) -> int:
        with self.stack.connect() as connection:
            return int((connection.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone() or (0,))[0])

    def check_books(self, since: int, least: int) -> None:
        """Each request since a job has one result and one charge, and there are at least as many as answers were counted."""
        with self.stack.connect() as connection:
            jobs, *same = connection.execute(ANSWERED, [since]).fetchone() or (0,)
        assert jobs >= least, f"{least} answers came and {jobs} jobs are there"
        assert same == [jobs] * 3, f"of {jobs} jobs {same} succeeded, have a result, have a charge"


@contextmanager
def service(fleet_toml: str, body: Mapping[str, object] = BODY, **pace: object) -> Iterator[Ours]:
    """One process of each part, every commit on disk before it counts."""
    with Stack(fleet_toml, **pace) as stack:
        orchestrator, worker = stack.orchestrator(), stack.worker()
        api, url = stack.api()
        target = Target(url, arms.api_key(stack), body)
        with stack.connect() as connection:
            for setting in ("synchronous_commit", "fsync"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",), f"{setting} is off"
        postgres, valkey = stack.server_pids()
        yield Ours(stack, target, {
            "API": api.pid, "worker": worker.pid, "orchestrator": orchestrator.pid, "PostgreSQL": postgres, "Valkey": valkey,
        })  # fmt: skip
