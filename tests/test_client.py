"""Our own client against the served API."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import orjson
import pytest

from orchestrator import errors
from orchestrator.client import Rightsize
from orchestrator.client.lines import LineFile, lines_of
from tests.serving import Api, serve
from tests.stack import ROOT, Stack, chat, row, rows


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    stack.orchestrator()
    stack.worker("llm", "rlm", "mllm")
    with serve(stack) as api:
        yield api


def test_a_batch_from_lines_to_results(api: Api, tmp_path: Path) -> None:
    with api.client as client:
        lines = (orjson.dumps(one) for one in [*rows(50), row("bad", chat("[[fail:400]]"))])
        made = client.create_batch(client.upload(lines)["id"], metadata={"a": "b"})
        seen: list[str] = []
        batch = client.wait(made["id"], lambda one: seen.append(one["status"]), within_s=30)
        assert (batch["status"], seen[-1]) == ("completed", "completed")
        found = {line["custom_id"]: line for line in client.results(batch)}
        assert len(found) == 51
        assert found["bad"]["error"]["code"] == "bad_request"
        assert [one["id"] for one in client.batches(page=1)] == [made["id"]]
        assert client.cost("batch", batch=made["id"])["total"]["jobs"] == 50
        path = tmp_path / "rows.jsonl"
        path.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in rows(3)))
        stored = client.upload(path)
        assert (stored["filename"], stored["bytes"]) == ("rows.jsonl", path.stat().st_size)
        assert b"".join(client.content(stored["id"])) == path.read_bytes()
        assert client.file(stored["id"]) == stored
        with pytest.raises(errors.Conflict):
            client.cancel(made["id"])


def test_jobs_chat_explain_models_and_health(api: Api) -> None:
    with api.client as client:
        with pytest.raises(errors.InvalidRequest, match="`deadline` must be a number and a unit"):
            client.submit_job(chat("Hello"), deadline="soon")
        made = client.submit_job(chat("Hello"), deadline="10m")
        assert client.job(made["id"])["id"] == made["id"]
        assert client.cancel_job(made["id"])["state"] in ("cancelled", "succeeded")
        assert client.complete(chat("Hello"))["rightsize"]["tier"] == "llm"
        assert client.explain(chat("Hello"))["route"]["rule"] == "default"
        assert client.models()[0]["id"] == "auto"
        assert client.ready()["status"] == "ok"


def test_errors_of_the_service_are_errors_of_our_tree(api: Api, tmp_path: Path) -> None:
    with api.client as client:
        with pytest.raises(errors.NotFound, match="no job"):
            client.job(f"job_{'0' * 32}")
        with pytest.raises(errors.UnknownModel, match="Known: auto") as unknown:
            client.complete({**chat("Hi"), "model": "none"})
        assert unknown.value.param == "model"
        with pytest.raises(errors.InvalidRequest):
            client.complete({"messages": []})
        with pytest.raises(errors.TierUnavailable, match="over the bound"):
            client.complete(chat("Hi", rightsize={"max_cost_usd": "0"}))
        with pytest.raises(errors.InvalidRequest, match="no file"):
            client.upload(tmp_path / "none")
        with pytest.raises(errors.InvalidRequest, match="cannot be read"):
            client.upload(tmp_path)
    with Rightsize(api.url, "rs_wrong") as stranger, pytest.raises(errors.Unauthorized, match="keys create"):
        stranger.models()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_a_service_that_is_not_there_is_named_with_a_remedy(url: str) -> None:
    with Rightsize(url, "rs_x", timeout_s=2) as client:
        with pytest.raises(errors.ServiceUnavailable, match="rightsize up"):
            client.complete(chat("x"))
        with pytest.raises(errors.ServiceUnavailable, match="rightsize up"):
            client.ready()


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://x", "http://[", "http://127.0.0.1:99999"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(errors.RightsizeError), Rightsize(url, "rs_x") as client:
        client.complete(chat("x"))


@pytest.fixture
def flaky() -> Iterator[tuple[str, list[str | None]]]:
    """A server that answers 503 twice, then JSON; it notes the idempotency keys."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            keys.append(self.headers.get("Idempotency-Key"))
            content = b'{"id":"batch_1"}' if len(keys) > 2 else b"<html>Bad gateway</html>"
            self.send_response(200 if len(keys) > 2 else 503)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", keys
    server.shutdown()
    thread.join()
    server.server_close()


def test_i7_a_create_is_sent_again_under_the_same_key(flaky: tuple[str, list[str | None]]) -> None:
    url, keys = flaky
    with Rightsize(url, "rs_x") as client:
        assert client.create_batch("file_1")["id"] == "batch_1"
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert keys[0]


def test_a_request_that_may_have_been_answered_is_not_sent_again(flaky: tuple[str, list[str | None]]) -> None:
    url, keys = flaky
    with Rightsize(url, "rs_x") as client, pytest.raises(errors.ServiceUnavailable):
        client.complete(chat("x"))
    assert len(keys) == 1


@pytest.mark.parametrize("key", ["order-\u00e9", "a\nb", " a"])
def test_a_key_that_no_header_carries_is_refused_before_anything_is_sent(
    key: str, flaky: tuple[str, list[str | None]]
) -> None:
    with Rightsize(flaky[0], "rsk_any") as client, pytest.raises(errors.InvalidRequest, match="idempotency key"):
        client.submit_job(chat("Hello"), key=key)
    assert not flaky[1]


def test_lines_survive_any_cut() -> None:
    content = b"one\n\ntwo\nthree"
    for size in range(1, len(content) + 1):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert list(lines_of(pieces)) == [b"one", b"two", b"three"]
    file = LineFile([b"one", b"two\n", b"three"])
    assert b"".join(iter(lambda: file.read(4), b"")) == b"one\ntwo\nthree\n"


def test_the_client_imports_nothing_of_the_server() -> None:
    heavy = (
        "sqlalchemy",
        "celery",
        "fastapi",
        "redis",
        "psycopg",
        "uvicorn",
        "orchestrator.store",
        "orchestrator.flow",
        "orchestrator.api",
    )
    code = f"import sys, orchestrator.client; sys.exit(str([m for m in {heavy!r} if m in sys.modules]) if any(m in sys.modules for m in {heavy!r}) else 0)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
