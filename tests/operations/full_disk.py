"""What a full disk refuses, and that nothing is lost by it: run by `test_full_disk.py` with a small disk of its own at argv[1].

PostgreSQL, Redis and the blobs are on that disk; logs and everything else are in argv[2].
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2

from orchestrator.local import instance
from orchestrator.settings import Settings
from orchestrator.store.migrate import migrate
from orchestrator.store.session import Database
from tests.conftest import PACE
from tests.serving import Api, serve
from tests.stack import ROOT, Stack, chat, rows, until

ROWS = 800
BESIDE = 1_200
"""About the characters of a prompt that takes room in the database, and none in the blob store."""


def main(disk: Path, work: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with instance.attach(Settings.load({"data_dir": disk / "data"}), parts=[]) as running:
        assert (disk / "data/servers").resolve().is_relative_to(disk), "the servers must lie on the small disk"
        given = {**PACE, "database_url": running.database_url, "redis_url": running.redis_url, "data_dir": work,
                 "blob_dir": disk / "blobs", "config": ROOT / "tests/fleet.toml"}  # fmt: skip
        settings = Settings.load(given)
        with closing(Database(settings, "owner", connections=1)) as owner:
            migrate(owner)
        with Stack(settings, instance=running) as stack, serve(stack) as api:
            fill_and_free(api, disk)


def fill_and_free(api: Api, disk: Path) -> None:
    stack = api.stack
    stack.orchestrator()
    worker = stack.worker()
    before = stack.submit(rows(20))
    stack.wait(before)
    batch = stack.submit(rows(ROWS, "[[sleep:0.3]] Hello"))
    until(lambda: stack.count("SELECT count(*) FROM attempts") > 40, what="the batch runs")
    fill(disk / "filler")
    assert "has 0 MiB left. Make room on it." in checks(api)["disk"]
    uploaded = api.http.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("large", b"x" * 5_000_000)})
    told(uploaded, "The disk that holds")
    told(until(lambda: refused(api), 30, "the database finds no room"), "No space left on device")
    assert stack.batch(batch).status == "in_progress"
    assert len(stack.lines(before)) == 20, "what is there can be read"

    (disk / "filler").unlink()
    until(lambda: checks(api) == {"database": "ok", "redis": "ok", "disk": "ok"}, 60, "all is well again")
    if worker.poll() is not None:  # Celery ends where Redis refuses to be written to: its supervisor starts another
        stack.worker()
    assert stack.wait(batch, 90).final["completed"] == ROWS
    stack.must_hold(batch, ROWS)


def fill(path: Path) -> None:
    """Take all the room that there is."""
    try:
        with path.open("wb", buffering=0) as file:  # a buffer would be written once more at the close
            while True:
                file.write(bytes(65_536))
    except OSError as error:
        assert error.errno == 28  # noqa: PT017 - this is the end that is wanted


def checks(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get("/readyz").json()["checks"]
    return found


def refused(api: Api) -> httpx2.Response | None:
    """The answer to one more request, once there is no room for it."""
    time.sleep(0.05)
    found = api.http.post("/v1/jobs", json={"endpoint": "/v1/chat/completions", "body": chat(os.urandom(BESIDE).hex())})
    return None if found.status_code in (200, 201, 202) else found


def told(found: httpx2.Response, says: str) -> None:
    """Check that a request was refused for now, with the reason and a time to wait."""
    assert found.status_code == 503, found.text
    assert found.json()["error"]["code"] == "service_unavailable"
    assert says in found.json()["error"]["message"]
    assert int(found.headers["retry-after"]) > 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
