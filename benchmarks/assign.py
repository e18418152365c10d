"""What one assignment costs with a million jobs queued against ten thousand, and after a million were assigned under an open snapshot."""

from __future__ import annotations

import time
import uuid

import psycopg

from benchmarks.report import Row, Scale, at_most, median, told
from benchmarks.stack import Stack, fleet
from orchestrator.fairness import MOST_DISPATCHES
from orchestrator.flow.context import Context, open_context
from orchestrator.flow.dispatch import Dispatcher

FEW = 10_000
GROUP = 16
"""Jobs in one dispatch while it is timed: so small that ten thousand jobs give enough of them."""
SAMPLES = 10

FILL = """
    WITH batch AS (
        INSERT INTO batches (public_id, tenant_id, project_id, api_key_id, status, endpoint, completion_window, input_file_id, total,
            deadline, in_progress_at)
        VALUES (gen_random_uuid(), 1, 1, 1, 'in_progress', '/v1/chat/completions', '24h', 0, %(jobs)s, now() + interval '1 day', now())
        RETURNING id, deadline
    )
    INSERT INTO jobs (public_id, tenant_id, project_id, api_key_id, batch_id, lane, prefix_hash, deadline, row_number, fleet_version,
        policy_version, price_version, stored_on, state, held_usd, tier, model, endpoint, rule, custom_id)
    SELECT gen_random_uuid(), 1, 1, 1, batch.id, batch.id, n %% 1000, batch.deadline, n, 1, 1, 1, current_date, 1, 0.001, 'llm',
        'noop', '/v1/chat/completions', 'default', 'row-' || n
    FROM batch, generate_series(1, %(jobs)s) n
"""
WORKER = """
    INSERT INTO workers (worker_id, model, tier, slots, latency_s, host, pid, fleet_version, last_seen)
    VALUES (%s, 'noop', 'llm', 64, 0, 'bench', 0, 1, now() + interval '1 day')
"""
END = "UPDATE dispatches SET ended_at = now(), ending = 'done' WHERE ended_at IS NULL"


class Queue:
    """A database with queued jobs, and a dispatcher for it, whose dispatches end as soon as they were timed."""

    def __init__(self, stack: Stack, name: str, jobs: int) -> None:
        stack.use_database(name)
        self.connection = stack.connect()
        self.connection.execute(FILL, {"jobs": jobs})
        self.connection.execute(WORKER, (uuid.uuid4(),))
        self.connection.execute("VACUUM ANALYZE jobs")
        self.url = stack.database_url
        self._settings = stack.settings
        self.context, self.dispatcher = self._open(GROUP)

    def _open(self, group: int) -> tuple[Context, Dispatcher]:
        context = open_context(self._settings.model_copy(update={"dispatch_max_jobs": group}), "orchestrator")
        return context, Dispatcher(context)

    def assign_ms(self) -> float:
        """Milliseconds for one dispatch, within a pass that makes as many as may be outstanding: statements, commit and messages."""
        model = self.context.config.fleet.named("noop")
        started = time.perf_counter()
        jobs = self.dispatcher.pass_over(model)
        passed = time.perf_counter() - started
        assert jobs > 0, "nothing was assigned"
        assert jobs % GROUP == 0, jobs
        self._finish()
        return passed * 1000 / (jobs // GROUP)

    def restart(self) -> None:
        """A new dispatcher, which knows no places."""
        self.dispatcher = Dispatcher(self.context)

    def assign_many(self, jobs: int) -> None:
        """Assign a great many in large groups."""
        context, large = self._open(500)
        large.lines = self.dispatcher.lines
        model = context.config.fleet.named("noop")
        done = 0
        while done < jobs:
            made = large.pass_over(model)
            assert made, f"only {done} jobs were assigned"
            done += made
            self._finish()
        context.close()

    def _finish(self) -> None:
        self.connection.execute(END)
        self.context.broker.redis.delete("rightsize.llm")  # nobody takes the messages

    def close(self) -> None:
        self.context.close()
        self.connection.close()


def measure(scale: Scale) -> list[Row]:
    many = scale.of(1_000_000)
    with Stack(fleet()) as stack:
        few, full = Queue(stack, "few", FEW), Queue(stack, "many", many + 3 * FEW)
        snapshot = psycopg.connect(full.url)
        try:
            base, deep = _in_turns(few, full)
            cold_few, cold_deep = _after_restart(few), _after_restart(full)
            snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            snapshot.execute("SELECT count(*) FROM batches")
            full.assign_many(many)
            further = Queue(stack, "further", FEW)
            again, aged = _in_turns(further, full)
            cold_aged = _after_restart(full)
            further.close()
        finally:
            snapshot.close()
            few.close()
            full.close()
    said = f"medians of {SAMPLES} passes of {MOST_DISPATCHES} dispatches of {GROUP} jobs, in turns"
    return [
        told("one assignment, 10,000 queued", base, "ms", note=said),
        at_most(f"{many:,} queued", deep / base, 1.5, "x", baseline=base, note=f"{deep:.2f} ms; baseline in ms"),
        at_most(f"after {many:,} were assigned under an open snapshot", aged / again, 1.5, "x", baseline=again,
                note=f"{aged:.2f} ms; baseline in ms, measured again beside it"),
        told("first pass of a new dispatcher, 10,000 queued", cold_few, "ms", note="for each dispatch of that pass"),
        told(f"first pass of a new dispatcher, {many:,} queued", cold_deep, "ms"),
        told(f"first pass of a new dispatcher, {many:,} assigned under an open snapshot", cold_aged, "ms",
             note="it reads past the dead rows of the index once"),
    ]  # fmt: skip


def _in_turns(one: Queue, other: Queue) -> tuple[float, float]:
    one.assign_ms(), other.assign_ms()  # connections and plans
    pairs = [(one.assign_ms(), other.assign_ms()) for _ in range(SAMPLES)]
    return median([first for first, _ in pairs]), median([second for _, second in pairs])


def _after_restart(queue: Queue) -> float:
    queue.restart()
    return queue.assign_ms()
