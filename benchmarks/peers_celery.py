"""Celery as a user would write it: broker and results in Redis, `delay` in a loop. Runs in the peers' environment."""

from __future__ import annotations

import json
import os
import sys
import time

import redis
from celery import Celery

SOCKET = os.environ["PEER_SOCKET"]
app = Celery(
    "peers_celery", broker=f"redis+socket://{SOCKET}?virtual_host=1", backend=f"redis+socket://{SOCKET}?virtual_host=2"
)


@app.task(name="noop")
def noop(body: dict[str, object]) -> None:
    """Nothing."""


def run(bodies: list[dict[str, object]], results: redis.Redis) -> float:
    """Seconds from the first `delay` until every result is stored."""
    results.flushdb()
    started = time.monotonic()
    for body in bodies:
        noop.delay(body)
    while results.dbsize() < len(bodies):
        time.sleep(0.02)
    return time.monotonic() - started


def main() -> None:
    results = redis.Redis(unix_socket_path=SOCKET, db=2)
    noop.delay({}).get(timeout=60)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        bodies = [json.loads(line)["body"]] * json.loads(line)["jobs"]
        print(json.dumps({"recorded_s": run(bodies, results)}), flush=True)


if __name__ == "__main__":
    main()
