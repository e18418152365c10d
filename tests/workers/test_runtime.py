"""The runtime of a worker: it stops in order, and no fault of ours keeps a dispatch from ending."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.contracts import ClaimedJob, Fault, Outcome, OutcomeKind
from orchestrator.flow.context import open_context
from orchestrator.settings import Settings
from workers.gate import Gate
from workers.held import Held, Running
from workers.recording import Item, Open
from workers.runtime import Runtime

FLEET = """
[policy]
default_tier = "llm"

[models.house]
tier = "llm"
engine = "simulated"
[models.house.simulate]
latency_s = [0.0, 0.0]
[[models.house.rates]]
output = "2.00"
usd_per_hour = "3.60"
"""
INTERVALS = "SELECT kind, ended_at IS NOT NULL AS ended FROM machine_intervals ORDER BY number"

NO_LOOP: Any = None
"""Nothing is called off in these."""


def test_a_worker_of_a_machine_priced_by_the_hour_ends_its_last_interval_itself(
    settings: Settings, tmp_path: Path
) -> None:
    config = tmp_path / "hourly.toml"
    config.write_text(FLEET)
    context = open_context(settings.model_copy(update={"config": config}), "worker")
    runtime = Runtime(context, context.config.fleet.models, leave=pytest.fail)
    runtime.start()
    time.sleep(0.2)
    runtime.stop()
    after = open_context(settings, "orchestrator")
    with after.database.engine.connect() as connection:
        found = [(row.kind, row.ended) for row in connection.execute(text(INTERVALS))]
    after.close()
    assert [kind for kind, _ in found] == ["loading", "serving", "draining"]
    assert all(ended for _, ended in found)


class Broken:
    """A served model that stumbles over a job before its turn."""

    model = SimpleNamespace(name="house", max_image_pixels=1)

    def asked(self, job: ClaimedJob) -> None:
        raise RuntimeError("a tokenizer that fails")


def test_a_fault_of_ours_before_a_jobs_turn_is_its_outcome_and_the_dispatch_ends() -> None:
    runtime: Any = Runtime.__new__(Runtime)
    recorded: list[Outcome] = []

    def put(item: Item) -> None:
        recorded.append(item.outcome)
        item.open.settle(1)

    runtime._served, runtime._bulk_recorder = {"house": Broken()}, SimpleNamespace(put=put)
    runtime._held = Held(NO_LOOP)
    job = SimpleNamespace(id=1, public_id="one", batch_id=1, interactive=False, model="house")
    claim = SimpleNamespace(model="house", one_by_one=False, interactive=False)
    running: Any = Running(SimpleNamespace(jobs=[job], claim=claim), Open(7, 1), 0.0, None)  # type: ignore[arg-type]
    asyncio.run(runtime._run_all(running))
    assert [outcome.kind for outcome in recorded] == [OutcomeKind.RETRY]
    assert running.open.settled.is_set()
    assert not running.tasks


@pytest.mark.parametrize("said", [True, False])
def test_a_job_in_an_engine_that_died_goes_back_unless_its_reader_has_seen_half_of_an_answer(said: bool) -> None:
    runtime: Any = Runtime.__new__(Runtime)
    left: list[str] = []
    recorded: list[Outcome] = []
    pieces = SimpleNamespace(said=said, cut=False, settled=lambda: asyncio.sleep(0))
    runtime._leave, runtime._held = left.append, Held(NO_LOOP)
    runtime._line = SimpleNamespace(open=lambda job: pieces)
    runtime._now_recorder = SimpleNamespace(put=lambda item: recorded.append(item.outcome))

    async def died(*_: object) -> Outcome:
        return Outcome(OutcomeKind.RETRY, fault=Fault("engine_dead", "It ended.", 503))

    runtime._perform = died
    served: Any = SimpleNamespace(asked=lambda job: None, gate=Gate(1), model=SimpleNamespace(name="house"))
    job: Any = SimpleNamespace(id=1, public_id="one", batch_id=0, interactive=True, attempt=1)
    claim = SimpleNamespace(one_by_one=False, interactive=True)
    running: Any = Running(SimpleNamespace(jobs=[job], claim=claim), Open(7, 1), 0.0, None)  # type: ignore[arg-type]
    asyncio.run(runtime._run_one(job, served, running))
    assert left == ["house: It ended."]
    assert running.suspects == ([] if said else [job])
    assert [(one.kind, one.fault and one.fault.code) for one in recorded] == (
        [(OutcomeKind.FAILED, "stream_broken")] if said else []
    )
