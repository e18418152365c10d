"""What `docs/operations/redis-lost.md` says of a Redis that is gone is so."""

from __future__ import annotations

import pytest

from orchestrator.settings import Settings
from tests import own_servers
from tests.api.test_batches import create, ended
from tests.serving import serve
from tests.stack import Stack, chat, rows, until


@pytest.mark.slow
@pytest.mark.fault
def test_f10_what_is_submitted_while_redis_is_away_is_accepted_and_runs_once_when_it_is_back_empty(
    settings: Settings,
) -> None:
    given = {**settings.model_dump(exclude_unset=True), "claim_by_s": 0.5}
    with (
        own_servers.valkey() as valkey,
        Stack(Settings.load({**given, "redis_url": valkey.url})) as stack,
        serve(stack) as api,
    ):
        stack.orchestrator()
        stack.worker()
        ended(api, create(api, rows(5)))
        valkey.close()
        ready = api.http.get("/readyz")
        assert ready.status_code == 503
        assert "Redis does not answer" in ready.json()["checks"]["redis"]
        batch = create(api, rows(20))
        job = api.post("/v1/jobs", {"endpoint": "/v1/chat/completions", "body": chat("Hello")})
        assert job.status_code in (200, 201, 202), job.text
        until(lambda: api.http.get(f"/v1/batches/{batch}").json()["status"] == "in_progress", 20, "the batch is read")
        valkey.kill(forget=True)
        until(lambda: api.http.get("/readyz").status_code == 200, 20, "Redis is back")
        if any(
            process.poll() is not None for process in stack.processes
        ):  # Celery gave up: a supervisor starts another
            stack.worker()
        assert ended(api, batch).request_counts.completed == 20
        until(lambda: api.http.get(f"/v1/jobs/{job.json()['id']}").json()["state"] == "succeeded", 30, "the job ends")
        assert stack.count("SELECT count(*) FROM attempts") == 26
        assert stack.doctor() == []
