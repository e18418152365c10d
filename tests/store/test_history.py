"""What forecasts learn from, on real Postgres: sums of what finished jobs took, of one tenant, however much there is; and loads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count

import pytest
from sqlalchemy import text

from orchestrator.contracts import Owner
from orchestrator.fleet import load
from orchestrator.forecasting import Basis, Histories, Moments
from orchestrator.settings import Settings
from orchestrator.store import history
from orchestrator.store.history import LOOKED_AT
from orchestrator.store.session import Database

OWNER = Owner(1, 1, 1)
SECOND = text("INSERT INTO tenants (id, public_id, name, weight) VALUES (2, gen_random_uuid(), 'second', 3)")
PROJECT = text(
    "INSERT INTO projects (id, public_id, tenant_id, name, weight) VALUES (:id, gen_random_uuid(), :tenant, :name, :weight)"
)
BATCH = text("""
    INSERT INTO batches (public_id, tenant_id, project_id, api_key_id, status, endpoint, completion_window, input_file_id, total, deadline)
    VALUES (gen_random_uuid(), :tenant, :project, 1, :status, '/v1/chat/completions', '24h', 0, 0, now() + interval '1 day') RETURNING id
""")
JOBS = text("""
    WITH job AS (
        INSERT INTO jobs (public_id, tenant_id, project_id, api_key_id, batch_id, lane, deadline, fleet_version, policy_version,
            price_version, stored_on, state, tier, model, endpoint, rule, task)
        SELECT gen_random_uuid(), :tenant, :project, 1, :batch, CASE WHEN :batch = 0 THEN -:project ELSE :batch END, now(), 1, 1, 1,
            current_date - CAST(:days AS integer), :state, 'llm', :model, '/v1/chat/completions', 'default', :task
        FROM generate_series(1, CAST(:jobs AS integer)) RETURNING id, stored_on
    ),
    request AS (
        INSERT INTO job_requests (stored_on, job_id, body, reasons, features)
        SELECT stored_on, id, 'A question.', 'It is text only.', :features FROM job
    )
    INSERT INTO attempts (job_id, attempt, dispatch_id, outcome, tier, model, model_revision, price_version, policy_version, fleet_version,
        simulated, engine_s, input_tokens, cached_tokens, output_tokens, reasoning_tokens, images, audio_seconds)
    SELECT id, a.n, 1, a.outcome, 'llm', :model, 'r', 1, 1, 1, true, a.engine_s, a.input, a.cached, a.output, a.thought, 0, 0
    FROM job CROSS JOIN unnest(CAST(:outcomes AS text[]), CAST(:seconds AS float8[]), CAST(:inputs AS integer[]),
        CAST(:cached AS integer[]), CAST(:outputs AS integer[]), CAST(:thoughts AS integer[])) WITH ORDINALITY
        AS a(outcome, engine_s, input, cached, output, thought, n)
""")
WORKER = text("""
    INSERT INTO workers (worker_id, model, tier, slots, latency_s, host, pid, fleet_version)
    VALUES (gen_random_uuid(), :model, 'llm', :slots, :latency, 'test', 0, 1)
""")


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt."""

    outcome: str = "succeeded"
    seconds: float = 1.0
    read: int = 100
    cached: int = 0
    written: int = 50
    thought: int = 0


class House:
    """A database that is filled by hand."""

    def __init__(self, settings: Settings) -> None:
        self.database = Database(settings, "orchestrator", connections=2)
        self._ids = count(10)

    def tenant(self) -> None:
        with self.database.unit_of_work() as session:
            session.execute(SECOND)

    def project(self, tenant: int, weight: int = 1) -> int:
        number = next(self._ids)
        with self.database.unit_of_work() as session:
            session.execute(PROJECT, {"id": number, "tenant": tenant, "name": f"project-{number}", "weight": weight})
        return number

    def batch(self, status: str = "completed", tenant: int = 1, project: int = 1) -> int:
        with self.database.unit_of_work() as session:
            return int(session.execute(BATCH, {"tenant": tenant, "project": project, "status": status}).scalar_one())

    def jobs(
        self, batch: int, tried: Sequence[Tried] = (Tried(),), *, jobs: int = 1, state: int = 10, task: str | None = "triage",
        model: str = "fast", tenant: int = 1, project: int = 1, days: int = 0, **features: object,
    ) -> None:  # fmt: skip
        """Jobs of one kind, each with the same attempts."""
        values = {
            "tenant": tenant, "project": project, "batch": batch, "days": days, "state": state, "model": model, "task": task,
            "jobs": jobs, "features": json.dumps({"input_tokens": 80, **features}),
            "outcomes": [one.outcome for one in tried], "seconds": [one.seconds for one in tried],
            "inputs": [one.read for one in tried], "cached": [one.cached for one in tried],
            "outputs": [one.written for one in tried], "thoughts": [one.thought for one in tried],
        }  # fmt: skip
        with self.database.unit_of_work() as session:
            session.execute(JOBS, values)

    def learnt(self, tenant: int = 1) -> Histories:
        with self.database.unit_of_work() as session:
            return history.histories(session, tenant)

    def of(self, task: str | None, model: str = "fast", tenant: int = 1) -> tuple[Moments, ...]:
        """The sums of each batch of a task on a model."""
        found = self.learnt(tenant).of_task_on_model(task, model)
        return () if found is None else found.history.groups


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    made = House(settings)
    with closing(made.database):
        yield made


def test_the_sums_are_those_of_the_jobs_themselves(house: House) -> None:
    batch = house.batch()
    seen = [
        (20, Tried(read=25, cached=5, written=40, thought=10)),
        (200, Tried(read=210, written=3)),
        (80, Tried(seconds=0.25)),
    ]
    for read, tried in seen:
        house.jobs(batch, [tried], jobs=2, input_tokens=read)
    (found,) = house.of("triage")
    expected = Moments.of(
        (read, (1.0, t.read, t.cached, t.written - t.thought, t.thought, t.seconds))
        for read, t in seen
        for _ in range(2)
    )
    assert (found.n, found.x, found.xx, found.most_tokens) == (
        expected.n,
        expected.x,
        expected.xx,
        expected.most_tokens,
    )
    for one, other in ((found.sums, expected.sums), (found.with_x, expected.with_x), (found.pairs, expected.pairs)):
        assert one == pytest.approx(other)


def test_a_retry_counts_with_its_time_and_a_failure_with_nothing_else(house: House) -> None:
    batch = house.batch()
    house.jobs(batch, [Tried("retry", 2.0, written=9_999), Tried(seconds=1.0)], jobs=6)
    house.jobs(batch, [Tried("retry", 4.0), Tried("failed", 3.0, written=9_999)], jobs=4, state=11)
    (found,) = house.of("triage")
    assert found.n == 10
    assert found.sums == (6, 600, 0, 300, 0, 6 * 3 + 4 * 7)
    assert found.most_tokens == 50


def test_what_was_written_is_told_for_each_answer_and_what_was_read_for_each_reading(house: House) -> None:
    house.jobs(house.batch(), [Tried(read=300, cached=30, written=100, thought=40)], jobs=5, choices=2, readings=3)
    (found,) = house.of("triage")
    assert [total / 5 for total in found.sums] == [1, 100, 10, 30, 20, 1]


def test_batches_tasks_and_models_are_told_apart(house: House) -> None:
    for written in (10, 20):
        batch = house.batch()
        house.jobs(batch, [Tried(written=written)], jobs=6)
        house.jobs(batch, [Tried(written=written)], jobs=5, model="thinker")
    house.jobs(batch, [Tried(written=7)], jobs=5, task=None)
    assert sorted(moments.mean("spoken") for moments in house.of("triage")) == [10, 20]
    assert [moments.n for moments in house.of("triage", "thinker")] == [5, 5]
    assert [moments.mean("spoken") for moments in house.of(None)] == [7]
    found = house.learnt().of_model("fast")
    assert found is not None
    assert (found.basis, found.history.whole.n, len(found.history.groups)) == (Basis.MODEL, 17, 2)


def test_no_tenant_learns_from_another(house: House) -> None:
    house.tenant()
    project = house.project(2)
    house.jobs(house.batch(), jobs=10)
    house.jobs(0, jobs=10, task="single")
    assert house.of("triage", tenant=2) == house.of("single", tenant=2) == ()
    house.jobs(house.batch(tenant=2, project=project), [Tried(written=999)], jobs=10, tenant=2, project=project)
    assert [moments.mean("spoken") for moments in house.of("triage", tenant=2)] == [999]
    assert [moments.mean("spoken") for moments in house.of("triage")] == [50]


@pytest.mark.parametrize("status", ["validating", "in_progress", "cancelled", "expired", "failed"])
def test_a_batch_that_did_not_run_to_its_end_would_mislead(house: House, status: str) -> None:
    house.jobs(house.batch(status), jobs=10)
    assert house.of("triage") == ()


def test_jobs_that_were_cancelled_expired_or_never_read_tell_nothing(house: House) -> None:
    batch = house.batch("finalizing")
    house.jobs(batch, jobs=5)
    for state in (12, 13):
        house.jobs(batch, (), state=state)
    house.jobs(batch, (), state=11, input_tokens=None)  # such as a row that could not be read
    (found,) = house.of("triage")
    assert found.n == 5


def test_single_jobs_of_a_day_count_as_a_batch(house: House) -> None:
    for days, jobs in ((0, 5), (1, 6)):
        house.jobs(0, jobs=jobs, days=days)
    house.jobs(0, (), state=1)
    assert sorted(moments.n for moments in house.of("triage")) == [5, 6]


def test_the_newest_batches_count_whatever_others_have_run_since(house: House) -> None:
    house.tenant()
    project = house.project(2)
    old, *_ = [house.batch() for _ in range(history.BATCHES + 1)]
    new = house.batch()
    house.jobs(old, [Tried(written=1)], jobs=10)
    house.jobs(new, [Tried(written=2)], jobs=10)
    for _ in range(2):
        house.jobs(house.batch(tenant=2, project=project), jobs=30_000, tenant=2, project=project)
    assert [moments.mean("spoken") for moments in house.of("triage")] == [2]


def test_of_long_histories_a_bounded_sample_is_read_from_all_over_each_batch(house: House) -> None:
    for _ in range(2):
        batch = house.batch()
        for part in range(10):
            house.jobs(batch, [Tried(written=part)], jobs=3_000)
    started = time.perf_counter()
    found = house.of("triage")
    took_s = time.perf_counter() - started
    seen = sum(moments.n for moments in found)
    assert LOOKED_AT / 2 <= seen <= LOOKED_AT
    assert [moments.mean("spoken") for moments in found] == pytest.approx([4.5, 4.5], abs=0.3)
    assert took_s < 2, took_s  # 0.2 s on two idle cores; a scan of everything takes several


# Loads


def loads(house: House, settings: Settings, owner: Owner = OWNER) -> dict[str, history.Load]:
    models = load(settings.config).fleet.models
    with house.database.unit_of_work() as session:
        return history.loads(session, owner, models, settings.lease_s)


def test_a_model_without_workers_is_as_fast_as_the_fleet_says_of_one(house: House, settings: Settings) -> None:
    found = loads(house, settings)["fast"]
    assert (found.slots, found.latency_s, found.ahead_s, found.share, found.workers) == (32 * 0.9, 0.01, 0, 1, 0)


def test_what_waits_is_told_in_seconds_of_the_live_slots_and_shared_by_weight(house: House, settings: Settings) -> None:
    with house.database.unit_of_work() as session:
        for _ in range(2):
            session.execute(WORKER, {"model": "fast", "slots": 5, "latency": 2.0})
    house.tenant()
    project = house.project(2)
    house.jobs(house.batch("in_progress"), (), jobs=30, state=1)
    house.jobs(0, (), jobs=10, state=1)
    found = loads(house, settings)
    assert (found["fast"].slots, found["fast"].latency_s, found["fast"].workers) == (10, 2, 2)
    assert found["fast"].ahead_s == pytest.approx(40 * 2 / 10)
    assert found["fast"].share == pytest.approx(1 / 3)  # a batch, and the project's single jobs
    assert found["thinker"].share == 1
    # The other tenant has three times our weight.
    assert loads(house, settings, Owner(2, project, 1))["fast"].share == pytest.approx(3 / 4)
    house.jobs(house.batch("in_progress", 2, project), (), state=1, tenant=2, project=project)
    assert loads(house, settings)["fast"].share == pytest.approx(1 / 4 / 3)


def test_a_paused_batch_is_beside_nobody(house: House, settings: Settings) -> None:
    batch = house.batch("in_progress")
    house.jobs(batch, (), jobs=3, state=1)
    with house.database.unit_of_work() as session:
        session.execute(text("UPDATE batches SET paused_at = now()"))
    assert loads(house, settings)["fast"].share == 1
