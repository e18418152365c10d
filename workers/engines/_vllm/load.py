"""What vLLM's schedulers say after each step: the report by which the worker keeps the engine full, and its sign of life."""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from workers.engines._vllm.step_times import StepTimes
from workers.engines.base import Load


class Report(StatLoggerBase):  # type: ignore[misc]
    """The latest report of one scheduler. vLLM calls these statistics unstable: what is missing makes the report unreadable, never wrong."""

    def __init__(self, times: StepTimes) -> None:
        """`times` takes in the steps in which somebody's answer went on: what a caller waits for one token more."""
        self.running = self.waiting = self.preemptions = 0
        self.kv_use = 0.0
        self.prefix_queries = self.prefix_hits = 0
        self.steps = self.finished = 0
        self.times = times
        self.stepped_at = time.monotonic()
        self.readable = True

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        """Take in what one step says."""
        del mm_cache_stats, engine_idx
        self.steps += 1
        self.stepped_at = time.monotonic()
        try:
            if scheduler_stats is not None:
                self.running = scheduler_stats.num_running_reqs
                self.waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
                self.kv_use = scheduler_stats.kv_cache_usage
                self.prefix_queries += scheduler_stats.prefix_cache_stats.queries
                self.prefix_hits += scheduler_stats.prefix_cache_stats.hits
            if iteration_stats is not None:
                self.preemptions += iteration_stats.num_preempted_reqs
                self.finished += len(iteration_stats.finished_requests)
                if went_on := iteration_stats.inter_token_latencies_iter:
                    # The least: who was interrupted has waited for more than one step.
                    self.times.add(min(went_on))
        except AttributeError:
            self.readable = False

    def log_engine_initialized(self) -> None:
        """Say nothing: the worker logs that the engine is loaded."""


class Reports:
    """The reports of all schedulers of an engine: one, or with data parallelism one for each copy of the model."""

    def __init__(self) -> None:
        self._each: list[Report] = []
        self.times = StepTimes()

    def of_scheduler(self, vllm_config: Any, engine_index: int = 0) -> Report:
        """The report of one scheduler; vLLM asks for it when it starts."""
        del vllm_config, engine_index
        self._each.append(Report(self.times))
        return self._each[-1]

    def load(self) -> Load | None:
        """The engine as a whole, or None if this release of vLLM does not tell. The fullest cache counts: there is interrupted first."""
        if not self._each or not all(one.readable for one in self._each):
            return None
        return Load(
            self.total("running"),
            self.total("waiting"),
            max(one.kv_use for one in self._each),
            self.total("preemptions"),
        )

    def total(self, name: str) -> int:
        """A count of all schedulers together, such as `steps`."""
        return sum(getattr(one, name) for one in self._each)

    def quiet_s(self) -> float:
        """Seconds since the last step of the scheduler that has work and was heard least lately; of any, where none says that it has."""
        at_work = [one.stepped_at for one in self._each if one.running or one.waiting]
        last = min(at_work) if at_work else max(one.stepped_at for one in self._each)
        return time.monotonic() - last

    def rest(self) -> None:
        """Have it begin anew: nothing is asked of the engine, so that no step is due."""
        now = time.monotonic()
        for one in self._each:
            one.stepped_at = now
