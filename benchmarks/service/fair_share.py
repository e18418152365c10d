"""One job of a tenant beside a hundred thousand of another: how long from its submit until it runs. Both have the weight 1."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx2

from benchmarks import rows as inputs
from benchmarks.report import Row, Scale, at_least, at_most, median, spread, told
from benchmarks.service.administering import admin, answered
from benchmarks.service.ours import BODY, Ours, service
from benchmarks.stack import fleet

BACKLOG: Final = 100_000
SLOTS: Final = 64
LATENCY_S: Final = 0.2
"""So that the backlog takes five minutes, and outlasts what is measured."""
TRIES: Final = 20
PAUSE_S: Final = 1.0
TARGET_S: Final = 2.0
SHARE_JOBS: Final = 4_000
SHARE_S: Final = 10.0
WITHIN_S: Final = 300.0
BEGAN: Final = """
    SELECT extract(epoch FROM j.assigned_at)::float8, extract(epoch FROM a.created_at)::float8 - a.engine_s
    FROM jobs j JOIN attempts a ON a.job_id = j.id WHERE j.public_id = %s
"""
ENDED: Final = (
    "SELECT count(*) FILTER (WHERE tenant_id = 1), count(*) FILTER (WHERE tenant_id <> 1) FROM jobs WHERE state = 10"
)


def measure(scale: Scale) -> list[Row]:
    backlog, tries = scale.of(BACKLOG), 5 if scale.quick else TRIES
    with service(fleet(slots=SLOTS, latency_s=(LATENCY_S, LATENCY_S))) as ours, admin(ours) as boss:
        key = _newcomer(boss)
        _submit(boss, backlog)
        _wait(ours, "SELECT count(*) >= %s FROM jobs WHERE state = 2", SLOTS)
        with httpx2.Client(base_url=ours.target.url, headers={"Authorization": f"Bearer {key}"}, timeout=60.0) as other:
            alone = [_try(ours, other) for _ in range(tries)]
            left = _left(ours)
            share = _share(ours, other)
            assert _left(ours) > 0, "the backlog did not last"
    assigned, running = ([one[place] for one in alone] for place in (0, 1))
    shape = (
        f"{left:,} of {backlog:,} jobs of the other tenant were still queued at the end of {tries} tries; {SLOTS} slots, "
        f"{LATENCY_S:g} s a job, one worker"
    )
    return [
        at_most("a lone job beside a backlog, from its submit until it runs, worst", max(running), TARGET_S, "s",
                note=f"{shape}; {spread(running)}"),
        told("a lone job beside a backlog, from its submit until it runs, median", median(running), "s"),
        told("a lone job beside a backlog, until it is assigned, median", median(assigned), "s", note=f"worst {max(assigned):.3g} s"),
        at_least("share of a newcomer with as much to do", share, 0.45, "", note=f"of what ended in {SHARE_S:g} s; half would be even"),
    ]  # fmt: skip


def _newcomer(boss: httpx2.Client) -> str:
    """The key of a second tenant, of the same weight."""
    answered(boss.post("/v1/tenants", json={"name": "newcomer", "weight": 1}))
    return str(answered(boss.post("/v1/keys", params={"tenant": "newcomer"}, json={"name": "newcomer"}))["key"])


def _submit(http: httpx2.Client, count: int) -> None:
    """Hand in a batch of so many rows, and wait until all of them are queued."""
    content = b"".join(json.dumps(row).encode() + b"\n" for row in inputs.rows(count))
    file = answered(http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("rows.jsonl", content)}))
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = answered(http.post("/v1/batches", json=asked))
    until = time.monotonic() + WITHIN_S
    while batch["status"] == "validating":
        assert time.monotonic() < until, "the batch is not read"
        time.sleep(0.1)
        batch = answered(http.get(f"/v1/batches/{batch['id']}"))
    assert batch["status"] == "in_progress", batch


def _try(ours: Ours, other: httpx2.Client) -> tuple[float, float]:
    """Seconds from a submit until the job was assigned, and until it ran: by one clock, since all of it is one machine."""
    time.sleep(PAUSE_S)
    began = time.time()
    made = answered(other.post("/v1/jobs", json={"body": BODY}))["id"]
    for one in _rows(ours, BEGAN, made.removeprefix("job_")):
        return float(one[0]) - began, float(one[1]) - began
    raise AssertionError("the job does not end")


def _share(ours: Ours, other: httpx2.Client) -> float:
    """Which share of what ends is the newcomer's, once it has as much to do as anybody."""
    _submit(other, SHARE_JOBS)
    _wait(ours, "SELECT count(*) >= %s FROM jobs WHERE state = 10 AND tenant_id <> 1 AND batch_id <> 0", SLOTS)
    before = next(_rows(ours, ENDED))
    time.sleep(SHARE_S)
    mine, theirs = (int(now) - int(was) for now, was in zip(next(_rows(ours, ENDED)), before, strict=True))
    return theirs / (mine + theirs)


def _left(ours: Ours) -> int:
    return int(next(_rows(ours, "SELECT count(*) FROM jobs WHERE state = 1 AND tenant_id = 1"))[0])


def _wait(ours: Ours, condition: str, least: int) -> None:
    until = time.monotonic() + WITHIN_S
    while not next(_rows(ours, condition, least))[0]:
        assert time.monotonic() < until, condition
        time.sleep(0.1)


def _rows(ours: Ours, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, as soon as there are any."""
    until = time.monotonic() + WITHIN_S
    with ours.stack.connect() as connection:
        while not (found := connection.execute(query.encode(), values).fetchall()):
            assert time.monotonic() < until, query
            time.sleep(0.02)
    yield from found
