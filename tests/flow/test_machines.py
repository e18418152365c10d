"""A machine priced by the hour: jobs plus idle are its bill, whatever happens to its workers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orchestrator.contracts import ClaimedJob, Outcome, OutcomeKind, Usage
from orchestrator.flow import claim
from orchestrator.flow import machines as flow
from orchestrator.flow.context import Context, open_context
from orchestrator.flow.record import Recorder
from orchestrator.machine_time import Weights
from orchestrator.settings import Settings
from orchestrator.store import machines
from orchestrator.store.machines import Reading
from orchestrator.store.recording import Metered
from orchestrator.store.session import Database
from tests.serving import Api, serve
from tests.stack import ROOT, Stack, chat, row, rows, until

FLEET = """
[policy]
max_attempts = 3
retry_base_s = 0.1
retry_max_s = 0.5

[models.house]
tier = "llm"
engine = "simulated"
slots = 8
expected_latency_s = 0.02
[models.house.simulate]
latency_s = [0.005, 0.03]
obey_markers = true
[models.house.weights]
prefill = 0.2
[[models.house.rates]]
input = "1.00"
output = "2.00"
usd_per_hour = "97.310007"

[models.thinker]
tier = "rlm"
engine = "simulated"
slots = 4
[models.thinker.simulate]
latency_s = [0.0, 0.0]
[[models.thinker.rates]]
request = "0.01"
"""
WORKER = uuid4()
READING = Reading("house", "llm", Decimal("3.6"), Weights(Decimal("0.1"), Decimal("0.01"), Decimal(1)), Decimal(0))
BUSY = replace(READING, busy_s=Decimal(50))
BOOKED = """
    SELECT sum(bill_usd) AS bill, sum(jobs_usd) AS jobs, sum(idle_usd) AS idle,
        (SELECT sum(amount_usd) FROM transfers WHERE kind = 'machine') AS shared, (SELECT sum(amount_usd) FROM idle_transfers) AS left_over,
        sum(usd_per_hour * extract(epoch FROM ended_at - started_at)) / 3600 AS exact, count(DISTINCT worker_id) AS workers
    FROM machine_intervals
"""
UNCLOSED = "SELECT count(*) FROM machine_intervals WHERE closed_at IS NULL"


@pytest.fixture
def hourly(settings: Settings, tmp_path: Path) -> Settings:
    config = tmp_path / "hourly.toml"
    config.write_text(FLEET)
    return settings.model_copy(update={"config": config, "machine_interval_s": 0.6, "heartbeat_s": 0.2, "lease_s": 6.0})


@pytest.fixture
def machine_stack(hourly: Settings) -> Iterator[Stack]:
    with Stack(hourly) as made:
        made.broker.redis.flushdb()
        yield made


def stop(stack: Stack, *workers: Any) -> None:
    for worker in workers:
        worker.terminate()
        worker.wait(20)


def command(api: Api, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "cost", "--machines", "--url", api.url, "--api-key", api.key, *words],
        capture_output=True, text=True, timeout=90, check=False, cwd=ROOT,
    )  # fmt: skip


def books(stack: Stack) -> Any:
    """The sums of all intervals, once every one is closed."""
    until(lambda: stack.count(UNCLOSED) == 0, what="all books are closed")
    (found,) = stack.query(BOOKED)
    assert found.jobs + found.idle == found.bill == found.shared + found.left_over
    assert abs(found.bill - found.exact) <= Decimal("0.0000005") * found.workers
    return found


def test_jobs_plus_idle_are_the_bill_over_several_workers_of_which_one_is_killed(machine_stack: Stack) -> None:
    stack = machine_stack
    stack.orchestrator()
    workers = [stack.worker("llm") for _ in range(3)]
    mixed = [
        *rows(600),
        *(row(f"again-{n}", chat(f"[[fail:500:1]] {n}")) for n in range(5)),
        *(row(f"wrong-{n}", chat(f"[[fail:400]] {n}")) for n in range(5)),
    ]
    batch = stack.submit(mixed)
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 100)
    stack.kill(workers[0])
    ended = stack.wait(batch)
    assert (ended.final["completed"], ended.final["failed"]) == (605, 5)
    stop(stack, *workers[1:])
    found = books(stack)
    assert found.workers == 3
    assert found.jobs > 0 < found.idle
    kinds = dict(stack.query("SELECT kind, count(DISTINCT worker_id) FROM machine_intervals GROUP BY kind").__iter__())
    assert (kinds["loading"], kinds["serving"], kinds["draining"]) == (3, 3, 2)
    assert stack.count("SELECT count(*) FROM machine_intervals WHERE kind <> 'serving' AND jobs_usd > 0") == 0
    assert stack.count("SELECT count(*) FROM attempts WHERE interval_id IS NULL AND outcome = 'succeeded'") == 0
    stack.must_hold(batch, len(mixed))


def test_a_job_shows_both_costs_and_the_report_what_a_better_load_would_have_made_it(machine_stack: Stack) -> None:
    stack = machine_stack
    stack.orchestrator()
    worker = stack.worker("llm", "rlm")
    with serve(stack) as api:
        mine = api.post("/v1/jobs", {"body": chat("Hello")}).json()["id"]
        other = api.post("/v1/jobs", {"body": {**chat("Hello"), "model": "thinker"}}).json()["id"]

        def shown(job: str) -> Any:
            found = api.http.get(f"/v1/jobs/{job}").json()
            return found["attempts"][0] if found["state"] == "succeeded" else None

        first = until(lambda: shown(mine))
        assert Decimal(first["marginal_usd"]) > 0
        allocated = until(lambda: shown(mine)["allocated_usd"])
        assert Decimal(allocated) > 0
        assert until(lambda: shown(other))["allocated_usd"] is None
        stop(stack, worker)
        found = books(stack)
        (told,) = api.http.get("/v1/cost/machines").json()["data"]
        assert json.loads(command(api, "--json").stdout) == [told]
        table = " ".join(command(api).stdout.split())
        assert "house" in table
        assert "always busy" in table
        assert command(api, "--batch", "batch_1").returncode == 1
    assert told["model"] == "house"
    assert Decimal(told["bill_usd"]) == found.bill
    assert Decimal(told["jobs_usd"]) + Decimal(told["idle_usd"]) == found.bill
    assert told["attempts"] == 1
    assert 0 < told["busy_share"] < told["idle_share"] < 1
    really, at_best = (Decimal(told[f"usd_per_million_tokens{name}"]) for name in ("", "_if_always_busy"))
    assert really > at_best > 0
    assert told["tokens_per_busy_second"]["decode"] > 0
    stack.must_hold()


def test_a_fleet_without_a_price_by_the_hour_has_no_intervals(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    batch = stack.submit(rows(20))
    stack.wait(batch)
    assert stack.count("SELECT count(*) FROM machine_intervals") == 0
    assert stack.count("SELECT count(*) FROM attempts WHERE interval_id IS NOT NULL") == 0


# The steps, one by one


@pytest.fixture
def context(hourly: Settings) -> Iterator[Context]:
    with closing(open_context(hourly, "worker")) as made:
        yield made


@pytest.fixture
def ours(hourly: Settings) -> Iterator[Context]:
    with closing(open_context(hourly, "orchestrator")) as made:
        yield made


def change(context: Context, statement: str) -> None:
    """As the owner: time is moved, rather than waited for."""
    with closing(Database(context.settings, "owner", connections=1)) as owner, owner.unit_of_work() as session:
        session.execute(text(statement))


def intervals(context: Context) -> Any:
    with context.database.unit_of_work() as session:
        return session.execute(text("SELECT * FROM machine_intervals ORDER BY number")).all()


def older(context: Context, seconds: float) -> None:
    ago = f"make_interval(secs => {seconds})"
    change(context, f"UPDATE machine_intervals SET started_at = started_at - {ago}, ended_at = ended_at - {ago}, "
                    f"last_seen = last_seen - {ago} WHERE closed_at IS NULL")  # fmt: skip


def test_telling_twice_opens_one_interval_and_closing_twice_books_it_once(context: Context, ours: Context) -> None:
    for _ in range(2):
        flow.meter(context, WORKER, [READING], flow.SERVING)
    assert [one.number for one in intervals(context)] == [1]
    older(context, 10)
    flow.end(context, WORKER, [READING])
    flow.end(context, WORKER, [READING])
    assert (flow.close_ended(ours), flow.close_ended(ours)) == (1, 0)
    (one,) = intervals(context)
    assert one.bill_usd == one.idle_usd == pytest.approx(Decimal("0.01"), abs=Decimal("0.0005"))


def test_an_idle_interval_that_is_old_enough_is_followed_by_the_next_without_a_gap(context: Context) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    older(context, 1)
    flow.meter(context, WORKER, [READING], flow.SERVING)
    first, second = intervals(context)
    assert first.ended_at == second.started_at
    assert second.carried == first.usd_per_hour * Decimal(str((first.ended_at - first.started_at).total_seconds()))
    assert second.ended_at is None


def test_a_price_that_changes_begins_an_interval_of_its_own(context: Context) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    dearer = replace(READING, usd_per_hour=Decimal(7))
    flow.meter(context, WORKER, [dearer], flow.SERVING)
    assert [one.usd_per_hour for one in intervals(context)] == [Decimal("3.6"), Decimal(7)]


def test_a_busy_interval_without_an_attempt_waits_for_one(context: Context) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    older(context, 100)
    flow.meter(context, WORKER, [BUSY], flow.SERVING)
    (one,) = intervals(context)
    assert (one.ended_at, one.busy_to_s) == (None, 50)


def test_a_worker_that_was_taken_for_dead_goes_on_where_its_interval_was_ended(
    context: Context, ours: Context, stack: Stack
) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    older(context, 60)
    assert flow.close_ended(ours) == 1
    flow.meter(context, WORKER, [READING], flow.SERVING)
    first, second = intervals(context)
    assert first.ended_at == first.last_seen == second.started_at
    assert second.ended_at is None
    assert stack.doctor() == []


def test_two_closers_at_once_book_each_interval_once(context: Context, ours: Context, stack: Stack) -> None:
    for number in range(20):
        flow.meter(context, WORKER, [READING], flow.DRAINING if number % 2 else flow.SERVING)
    flow.end(context, WORKER, [READING])
    closed: list[int] = []
    threads = [threading.Thread(target=lambda: closed.append(flow.close_ended(ours))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(closed) == 20
    assert stack.doctor() == []


def test_a_closer_killed_before_its_commit_leaves_the_books_to_the_next(machine_stack: Stack) -> None:
    stack = machine_stack
    doomed = stack.orchestrator(crash_at="machines.before_commit:kill")
    worker = stack.worker("llm")
    assert doomed.wait(30) == -9
    stack.orchestrator()
    batch = stack.submit(rows(20))
    stack.wait(batch)
    stop(stack, worker)
    books(stack)
    stack.must_hold(batch, 20)


def test_an_interval_ends_only_after_the_flush_that_is_under_way_in_it(context: Context) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    ending = threading.Thread(target=lambda: flow.end(context, WORKER, [READING]))
    with context.database.unit_of_work() as session:
        held = "SELECT id FROM machine_intervals WHERE worker_id = :worker AND ended_at IS NULL FOR KEY SHARE"
        session.execute(text(held), {"worker": WORKER})
        ending.start()
        with context.database.unit_of_work() as other:
            assert machines.seen(other, WORKER, READING, 1) is not None
            other.rollback()
        ending.join(0.3)
        assert ending.is_alive()
    ending.join(10)
    assert intervals(context)[0].ended_at is not None


def held_job(stack: Stack, context: Context) -> ClaimedJob:
    """A job that our worker has claimed."""
    stack.submit_now(chat("Hello"))
    (found,) = stack.query("SELECT id FROM dispatches")
    claimed = claim.claim(context, found.id, WORKER)
    assert isinstance(claimed, claim.Claimed)
    return claimed.jobs[0]


def record(context: Context, job: ClaimedJob) -> None:
    outcome = Outcome(OutcomeKind.SUCCEEDED, Usage(10, 4, 5), b"{}")
    assert Recorder(context, Metered(WORKER, frozenset({"house"}))).record([(job, outcome)], [])


def joined(stack: Stack) -> Any:
    """The number of the interval that the one attempt joined."""
    (found,) = stack.query("SELECT i.number FROM attempts a LEFT JOIN machine_intervals i ON i.id = a.interval_id")
    return found.number


def test_an_attempt_recorded_while_an_interval_ends_joins_the_next(machine_stack: Stack, context: Context) -> None:
    stack = machine_stack
    job = held_job(stack, context)
    flow.meter(context, WORKER, [READING], flow.SERVING)
    recording = threading.Thread(target=record, args=(context, job))
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with context.database.unit_of_work() as session:
        machines.end_open(session, WORKER, READING)
        machines.open_next(session, WORKER, READING, flow.SERVING, 1)
        recording.start()
        until(lambda: stack.count(waits) == 1)
    recording.join(10)
    assert joined(stack) == 2


def test_what_a_worker_records_that_was_taken_for_dead_joins_no_interval_and_its_time_is_idle(
    machine_stack: Stack, context: Context, ours: Context
) -> None:
    job = held_job(machine_stack, context)
    flow.meter(context, WORKER, [READING], flow.SERVING)
    older(context, 5)
    flow.meter(context, WORKER, [BUSY], flow.SERVING)
    older(context, 60)
    assert flow.close_ended(ours) == 1
    record(context, job)
    assert joined(machine_stack) is None
    (one,) = intervals(context)
    assert one.idle_usd == one.bill_usd > 0
    assert machine_stack.doctor() == []


@pytest.mark.parametrize("change", ["bill_usd = 1", "usd_per_hour = 1", "closed_at = now()"])
def test_a_worker_can_neither_set_its_price_nor_close_its_books(context: Context, change: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"), context.database.engine.begin() as connection:
        connection.execute(text(f"UPDATE machine_intervals SET {change}"))


@pytest.mark.parametrize("statement", ["UPDATE machine_intervals SET bill_usd = 0, jobs_usd = 0, idle_usd = 0", "DELETE FROM machine_intervals",
                                       "UPDATE idle_transfers SET amount_usd = 0", "DELETE FROM idle_transfers"])  # fmt: skip
def test_closed_books_can_be_changed_by_nobody(context: Context, ours: Context, statement: str) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    flow.end(context, WORKER, [READING])
    flow.close_ended(ours)
    with pytest.raises(DBAPIError, match=r"are closed|append-only"):
        change(context, statement)


@pytest.mark.parametrize(
    "harm,found",
    [
        ("UPDATE machine_intervals SET idle_usd = idle_usd + 0.000001, bill_usd = bill_usd + 0.000001", {"I3-machine"}),
        ("UPDATE machine_intervals SET jobs_usd = 0.000001, bill_usd = bill_usd + 0.000001", {"I3-machine"}),
        ("UPDATE machine_intervals SET carried = carried + 3600 WHERE number = 2", {"I3-machine-time"}),
        ("UPDATE machine_intervals SET started_at = started_at - interval '1 s' WHERE number = 2", {"I3-machine", "I3-machine-time"}),
        ("UPDATE machine_intervals SET ended_at = NULL, closed_at = NULL, last_seen = now() - interval '1 h' WHERE number = 2",
         {"I3-machine", "I3-machine-open"}),
    ],
)  # fmt: skip
def test_the_invariants_see_what_is_wrong(
    context: Context, ours: Context, stack: Stack, harm: str, found: set[str]
) -> None:
    flow.meter(context, WORKER, [READING], flow.SERVING)
    older(context, 5)
    flow.meter(context, WORKER, [READING], flow.SERVING)
    flow.end(context, WORKER, [READING])
    flow.close_ended(ours)
    assert stack.doctor() == []
    change(context, "ALTER TABLE machine_intervals DISABLE TRIGGER machine_intervals_closed")
    change(context, harm)
    assert {one.name for one in stack.doctor()} == found
