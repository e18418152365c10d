"""The caller of a benchmark, a process of its own: submits a batch, by the flow or over HTTP, and waits until all is recorded.

Reads one line of JSON for each run from standard input (`{"jobs": N}`) and answers with one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import httpx2
import orjson

from benchmarks.rows import rows
from orchestrator import ids
from orchestrator.contracts import BatchStatus, Owner
from orchestrator.flow import submit
from orchestrator.flow.context import Context, open_context
from orchestrator.settings import Settings
from orchestrator.store import batches, files
from orchestrator.store.files import NewFile

PAUSE_S = 0.02
ENDED = ("completed", "failed", "expired", "cancelled")
OWNER = Owner(1, 1, 1)

Look = Callable[[], tuple[str, int]]
"""The batch's status, and how many jobs are recorded."""


def submit_by_flow(context: Context, requests: Iterable[dict[str, Any]]) -> Look:
    key = f"inputs/{ids.uuid7().hex}"
    with context.blobs.writing(key) as file:
        size = sum(file.write(orjson.dumps(row) + b"\n") for row in requests)
    file_id = ids.uuid7()
    with context.database.unit_of_work() as session:
        files.add(session, OWNER, file_id, NewFile("batch", "bench.jsonl", size, key))
    batch = submit.create_batch(
        context, OWNER, input_file=file_id, endpoint="/v1/chat/completions", window="24h", metadata=None, hints=None
    )

    def look() -> tuple[str, int]:
        with context.database.unit_of_work() as session:
            status = batches.get(session, batch.id).status
            recorded = sum(row.jobs for row in batches.progress(session, batch.id))
        return status, recorded

    return look


def submit_by_http(client: httpx2.Client, requests: Iterable[dict[str, Any]]) -> Look:
    content = b"".join(orjson.dumps(row) + b"\n" for row in requests)
    file = _checked(client.post("/v1/files", files={"file": ("bench.jsonl", content)}, data={"purpose": "batch"}))
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = _checked(client.post("/v1/batches", json=asked))

    def look() -> tuple[str, int]:
        now = _checked(client.get(f"/v1/batches/{batch['id']}"))
        counts = now["request_counts"]
        return now["status"], counts["completed"] + counts["failed"]

    return look


def run(begin: Callable[[Iterable[dict[str, Any]]], Look], count: int, *, until_queued: bool = False) -> dict[str, Any]:
    """Submit `count` requests; seconds until they were queued, recorded, and the batch complete."""
    requests = list(rows(count))
    started = time.monotonic()
    look = begin(requests)
    at: dict[str, float] = {}
    while True:
        status, recorded = look()
        now = time.monotonic() - started
        if status != BatchStatus.VALIDATING:
            at.setdefault("queued_s", now)
        if recorded >= count:
            at.setdefault("recorded_s", now)
        if status in ENDED or (until_queued and "queued_s" in at):
            return {**at, "ended_s": now, "status": status, "recorded": recorded}
        time.sleep(PAUSE_S)


def _checked(response: httpx2.Response) -> dict[str, Any]:
    if response.status_code >= 400:
        raise SystemExit(f"{response.request.url}: {response.status_code} {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--api-key")
    parser.add_argument("--until-queued", action="store_true")
    given = parser.parse_args()
    begin: Callable[[Iterable[dict[str, Any]]], Look]
    if given.url:
        client = httpx2.Client(base_url=given.url, headers={"Authorization": f"Bearer {given.api_key}"}, timeout=300.0)
        begin = partial(submit_by_http, client)
    else:
        context = open_context(Settings.load(), "orchestrator")
        begin = partial(submit_by_flow, context)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(begin, json.loads(line)["jobs"], until_queued=given.until_queued)), flush=True)


if __name__ == "__main__":
    main()
