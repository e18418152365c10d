"""Dramatiq as a user would write it: broker in Redis, no results, `send` in a loop. Runs in the peers' environment."""

from __future__ import annotations

import json
import os
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=f"unix://{os.environ['PEER_SOCKET']}?db=3")
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(body: dict[str, object]) -> None:
    """Nothing."""


def run(bodies: list[dict[str, object]]) -> float:
    """Seconds from the first `send` until every message is acknowledged."""
    started = time.monotonic()
    for body in bodies:
        noop.send(body)
    broker.join(noop.queue_name, interval=20)
    return time.monotonic() - started


def main() -> None:
    run([{}])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        bodies = [json.loads(line)["body"]] * json.loads(line)["jobs"]
        print(json.dumps({"recorded_s": run(bodies)}), flush=True)


if __name__ == "__main__":
    main()
