"""A file of 50,000 rows: from the start of its upload until all of its jobs are queued, and what the API's memory does."""

from __future__ import annotations

import json
import sys

from benchmarks import arms
from benchmarks.processes import Peak
from benchmarks.report import Row, Scale, at_most, median, spread, told
from benchmarks.stack import Stack, fleet


def measure(scale: Scale) -> list[Row]:
    rows = scale.of(50_000)
    seconds, api_mb, orchestrator_mb = [], [], []
    with Stack(fleet()) as stack:
        orchestrator = stack.orchestrator()  # and no worker: what is queued stays queued
        api, url = stack.api()
        words = ["--url", url, "--api-key", arms.api_key(stack), "--until-queued"]
        caller = stack.start("caller", [sys.executable, "-m", "benchmarks.produce", *words], talks=True)
        caller.hear()
        for jobs in [500, *[rows] * scale.rounds]:
            peaks = Peak(api.pid), Peak(orchestrator.pid)
            caller.say(json.dumps({"jobs": jobs}))
            said = caller.hear()
            if jobs == rows:
                seconds.append(said["queued_s"])
                api_mb.append(peaks[0].grown_mb())
                orchestrator_mb.append(peaks[1].grown_mb())
        with stack.connect() as connection:
            queued = connection.execute("SELECT count(*) FROM jobs WHERE state = 1").fetchone()
        assert queued == (500 + rows * scale.rounds,), queued
    return [
        at_most("upload to all queued", median(seconds), 30.0, "s", note=f"{rows} rows; {spread(seconds)}"),
        at_most("memory growth of the API", max(api_mb), 150.0, "MB", note=f"highest point above the start; {spread(api_mb)}"),
        told("memory growth of the orchestrator", max(orchestrator_mb), "MB", note=f"it reads the rows; {spread(orchestrator_mb)}"),
    ]  # fmt: skip
