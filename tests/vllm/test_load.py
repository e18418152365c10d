"""What several schedulers of one engine say together: with data parallelism each copy of the model has one."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace as Told
from typing import Any

import pytest

from tests.vllm.fleet import model
from workers.engines._vllm.start import engine_arguments
from workers.engines.base import Load

pytestmark = pytest.mark.filterwarnings("ignore")  # of vLLM, when it is imported


@pytest.fixture
def reports() -> Any:
    """The reports of an engine that has just started."""
    from workers.engines._vllm.load import Reports

    return Reports()


def stats(running: int, waiting: int = 0, kv_use: float = 0.0) -> Any:
    """What a scheduler says after a step, as far as we read it."""
    return Told(
        num_running_reqs=running,
        num_waiting_reqs=waiting,
        num_skipped_waiting_reqs=0,
        kv_cache_usage=kv_use,
        prefix_cache_stats=Told(queries=10, hits=4),
    )


def step(preempted: int = 0, finished: int = 0) -> Any:
    """What a step did."""
    return Told(num_preempted_reqs=preempted, finished_requests=[0] * finished, inter_token_latencies_iter=[0.01])


def test_counts_are_summed_and_the_fullest_cache_counts(reports: Any) -> None:
    assert reports.load() is None, "nobody has told anything"
    one, other = reports.of_scheduler(None, 0), reports.of_scheduler(None, 1)
    one.record(stats(3, 1, 0.25), step(preempted=1, finished=2))
    other.record(stats(4, 2, 0.75), step(preempted=2, finished=1))
    assert reports.load() == Load(running=7, waiting=3, kv_use=0.75, preemptions=3)
    assert [reports.total(name) for name in ("steps", "finished", "prefix_queries", "prefix_hits")] == [2, 3, 20, 8]
    assert reports.times.count == 2


def test_one_report_that_cannot_be_read_makes_all_unreadable(reports: Any) -> None:
    one, other = reports.of_scheduler(None, 0), reports.of_scheduler(None, 1)
    one.record(stats(1), step())
    other.record(Told(), step())
    assert reports.load() is None


def test_a_scheduler_that_hangs_is_not_hidden_by_another_one_that_steps(reports: Any) -> None:
    hangs, steps = reports.of_scheduler(None, 0), reports.of_scheduler(None, 1)
    hangs.record(stats(2), step())
    steps.record(stats(2), step())
    hangs.stepped_at = time.monotonic() - 100
    assert reports.quiet_s() > 99
    hangs.running = 0  # it had nothing to do: no step was due
    assert reports.quiet_s() < 1
    reports.rest()
    hangs.running = 2
    assert reports.quiet_s() < 1


def test_slots_are_those_of_all_copies_together(weights: Path) -> None:
    for table, each in (({"data_parallel_size": 2}, 3), ({}, 5), ({"data-parallel-size": 2, "max-num-seqs": 7}, 7)):
        assert engine_arguments(model(weights, slots=5, vllm=table)).max_num_seqs == each
