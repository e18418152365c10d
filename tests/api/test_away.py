"""The API while a server that it needs is away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.api import health
from orchestrator.api.server import listen
from orchestrator.errors import InvalidConfig
from tests.serving import make_key, serve
from tests.stack import ROOT, Stack, chat, until


def pid_of(stack: Stack, name: str) -> int:
    assert stack.instance is not None
    return until(lambda: (part := stack.instance.state.part(name)) and part.state == "ready" and part.pid)


@pytest.mark.fault
def test_f10_an_interactive_request_outlives_a_killed_redis(own_stack: Stack) -> None:
    own_stack.orchestrator()
    own_stack.worker("llm")
    with serve(own_stack) as api:
        assert api.post("/v1/chat/completions", chat("Hello")).status_code == 200
        os.kill(pid_of(own_stack, "valkey"), signal.SIGKILL)
        response = api.post("/v1/chat/completions", chat("[[sleep:0.3]] Hello again"))
        assert response.status_code == 200
        assert response.json()["rightsize"]["attempts"] == 1
        assert own_stack.doctor() == []


@pytest.mark.fault
def test_f11_readiness_says_that_redis_hangs_and_liveness_goes_on(own_stack: Stack) -> None:
    with serve(own_stack) as api:
        assert api.http.get("/readyz").status_code == 200
        pid = pid_of(own_stack, "valkey")
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            ready = api.http.get("/readyz")
            assert ready.status_code == 503
            assert "Redis" in ready.json()["checks"]["redis"]
            assert time.monotonic() - began < 30
            began = time.monotonic()
            assert api.http.get("/livez").status_code == 200
            assert time.monotonic() - began < 10
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: api.http.get("/readyz").status_code == 200, 20)


def test_readiness_says_that_the_disk_is_nearly_full(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LEAST_FREE", 2**62)
    with serve(stack) as api:
        ready = api.http.get("/readyz")
    assert ready.status_code == 503
    assert "Make room" in ready.json()["checks"]["disk"]


@pytest.mark.fault
def test_f17_a_killed_database_is_a_503_with_a_remedy_and_then_works_again(own_stack: Stack) -> None:
    with serve(own_stack) as api:
        assert api.http.get("/v1/batches").status_code == 200
        os.kill(pid_of(own_stack, "postgres"), signal.SIGKILL)
        response = until(lambda: (r := api.http.get("/v1/batches")).status_code != 200 and r, 5)
        assert response.status_code == 503
        error = response.json()["error"]
        assert (error["code"], error["type"]) == ("service_unavailable", "server_error")
        assert int(response.headers["retry-after"]) >= 1
        until(lambda: api.http.get("/v1/batches").status_code == 200, 40)


@pytest.mark.fault
@pytest.mark.parametrize("stream", [False, True])
def test_f17_a_caller_who_waits_is_answered_though_the_database_was_away_meanwhile(
    own_stack: Stack, stream: bool
) -> None:
    own_stack.orchestrator()
    own_stack.worker("llm")
    with serve(own_stack) as api, ThreadPoolExecutor(1) as pool:
        assert api.post("/v1/chat/completions", chat("Hello")).status_code == 200
        body = {**chat("[[sleep:4]] Hello again"), "stream": stream}
        waiting = pool.submit(lambda: api.post("/v1/chat/completions", body, timeout=60))
        until(
            lambda: own_stack.count("SELECT count(*) FROM dispatches WHERE claimed_at IS NOT NULL AND ended_at IS NULL")
        )
        os.kill(pid_of(own_stack, "postgres"), signal.SIGKILL)
        response = waiting.result()
        assert response.status_code == 200, response.text
        assert "error" not in response.text
        until(
            lambda: own_stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 2,
            20,
            "each is paid once",
        )
        assert own_stack.doctor() == []


def test_a_port_in_use_is_told_with_the_flag_that_names_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InvalidConfig, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InvalidConfig, match="--port"):
        listen("127.0.0.1", 70_000)


def test_sigterm_lets_a_running_request_end(stack: Stack) -> None:
    stack.worker("llm")
    ready = stack.settings.data_dir / "ready"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from orchestrator.api import server; from orchestrator.settings import Settings; server.run(Settings.load(), '127.0.0.1', {port})"
    process = stack.start(code, "api", env={"RIGHTSIZE_READY_FILE": str(ready)})
    until(ready.exists, 20, "the API is up")
    ask = (
        "import sys, httpx2; r = httpx2.post(sys.argv[1] + '/v1/chat/completions', headers={'Authorization': 'Bearer ' + sys.argv[2]}, "
        "json={'messages': [{'role': 'user', 'content': '[[sleep:1]]'}]}, timeout=20); sys.exit(r.status_code != 200)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", ask, f"http://127.0.0.1:{port}", make_key(stack.settings)], cwd=ROOT
    )
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 2"), 10, "the request runs")
    process.send_signal(signal.SIGTERM)
    assert caller.wait(20) == 0
    assert process.wait(10) in (0, -signal.SIGTERM)
