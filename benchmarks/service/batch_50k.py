"""A batch of 50,000 rows through `/v1/batches`, beside the same engine fed by the flow itself, and what it does to memory."""

from __future__ import annotations

import json
import sys

from benchmarks import arms
from benchmarks.processes import Peak, Process
from benchmarks.report import Row, Scale, at_least, at_most, median, spread, told
from benchmarks.stack import Stack, fleet

MOST_GROWTH_MB = 150.0
"""Of the API: the file alone has 12 MB, the bodies of all rows as objects would have some hundred."""


def measure(scale: Scale) -> list[Row]:
    rows, jobs = scale.of(50_000), scale.of(20_000)
    over_http, by_flow, api_mb, orchestrator_mb = [], [], [], []
    with Stack(fleet()) as stack:
        orchestrator = stack.orchestrator()
        stack.worker()
        api, url = stack.api()
        produce = [sys.executable, "-m", "benchmarks.produce"]
        http = stack.start("http", [*produce, "--url", url, "--api-key", arms.api_key(stack)], talks=True)
        flow = stack.start("flow", produce, talks=True)
        for caller in (http, flow):
            caller.hear()
            _run(caller, 500)
        for _ in range(scale.rounds):
            peaks = Peak(api.pid), Peak(orchestrator.pid)
            over_http.append(rows / _run(http, rows))
            api_mb.append(peaks[0].grown_mb())
            orchestrator_mb.append(peaks[1].grown_mb())
            by_flow.append(jobs / _run(flow, jobs))
        with stack.connect() as connection:
            lost = connection.execute(
                "SELECT count(*) FILTER (WHERE j.state <> 10), count(*) FILTER (WHERE t.job_id IS NULL) FROM jobs j "
                "LEFT JOIN transfers t ON t.job_id = j.id AND t.kind = 'charge'"
            ).fetchone()
        assert lost == (0, 0), f"{lost} jobs did not succeed, or were not charged"
    ours, theirs = median(over_http), median(by_flow)
    return [
        told("rows a second through /v1/batches", ours, "1/s", note=f"{rows} rows, upload included; {spread(over_http)}"),
        at_least("share of the flow's own jobs a second", ours / theirs, 0.7, "x", baseline=theirs,
                 note=f"{jobs} jobs submitted without HTTP, alternating; baseline in 1/s; {spread(by_flow)}"),
        at_most("memory growth of the API", max(api_mb), MOST_GROWTH_MB, "MB", note=spread(api_mb)),
        told("memory growth of the orchestrator", max(orchestrator_mb), "MB", note=spread(orchestrator_mb)),
    ]  # fmt: skip


def _run(caller: Process, count: int) -> float:
    """Seconds until so many jobs are recorded."""
    caller.say(json.dumps({"jobs": count}))
    said = caller.hear()
    assert said["recorded"] == count, said
    return float(said["recorded_s"])
