"""Canaries in everything that is secret or somebody's own: found in no log, metric, argument, key of Redis or foreign answer. A20."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import orjson
import psutil
import pytest
from sqlalchemy.engine import make_url

from orchestrator.broker import ANSWER_KEPT_S
from orchestrator.settings import Settings
from orchestrator.store.migrate import migrate
from orchestrator.store.session import Database
from tests.api.test_batches import ended
from tests.attacks.alone import Alone, connect, serve_alone
from tests.conftest import PACE, attached
from tests.stack import Stack, chat, row, until

ENV, DATABASE, PROMPT, ANSWER, FILE, NAME = (
    f"canary{kind}{os.urandom(8).hex()}" for kind in ("env", "database", "prompt", "answer", "file", "name")
)
PATH, QUERY, HEADER, COOKIE, WEBHOOK, IMAGE = (
    f"canary{kind}{os.urandom(8).hex()}" for kind in ("path", "query", "header", "cookie", "webhook", "image")
)
WRONG_KEY = "rs_" + f"canarykey{os.urandom(17).hex()}"
OF_TENANT = (PROMPT, ANSWER, FILE, NAME, IMAGE)
"""What a tenant sent or got."""
SECRETS = (ENV, DATABASE, WRONG_KEY, COOKIE, HEADER, PATH, QUERY, WEBHOOK)
CONTENT_KEYS = re.compile(rb"rightsize\.(answer|replies)\.[0-9a-f]{32}")


@dataclass
class Scene:
    """What was done, and what is to be looked through."""

    alone: Alone
    stack: Stack
    log_folders: list[Path]
    keys: list[str] = field(default_factory=list)
    """API keys and signing secrets that were told."""
    redis: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Every key that was ever seen, with its time to live and its value."""
    arguments: set[str] = field(default_factory=set)

    def logs(self) -> dict[str, str]:
        found = [path for folder in self.log_folders for path in folder.rglob("*.log*")]
        return {str(path): path.read_text("utf-8", "replace") for path in found}

    def look(self) -> None:
        """Keep what Redis holds and what processes were started with, now."""
        redis = self.stack.broker.redis
        for key in redis.scan_iter(count=1_000):
            kind, ttl = redis.type(key), redis.ttl(key)
            value = {
                b"stream": lambda key=key: redis.xrange(key), b"list": lambda key=key: redis.lrange(key, 0, -1), b"hash": lambda key=key: redis.hgetall(key),
                b"set": lambda key=key: redis.smembers(key), b"zset": lambda key=key: redis.zrange(key, 0, -1), b"string": lambda key=key: redis.get(key),
            }.get(kind, lambda: None)()  # fmt: skip
            self.redis[key] = (ttl, repr(value).encode())
        for process in psutil.process_iter(["cmdline"]):
            self.arguments.update(process.info["cmdline"] or ())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("leaks")
    with attached() as running:
        url = make_url(running.database_url).set(password=DATABASE).render_as_string(hide_password=False)
        given = {**PACE, "database_url": url, "redis_url": running.redis_url, "data_dir": folder, "config": Path(__file__).parents[1] / "fleet.toml",
                 "request_timeout_s": 5.0, "webhook_networks": "127.0.0.0/8", "log_format": "json", "log_level": "DEBUG"}  # fmt: skip
        settings = Settings.load(given)
        database = Database(settings, "owner", connections=1)
        migrate(database)
        database.close()
        os.environ["CANARY"] = ENV
        with Stack(settings, instance=running) as stack:
            try:
                stack.orchestrator()
                stack.worker("llm", "rlm", "mllm")
                with serve_alone(stack) as alone:
                    made = Scene(alone, stack, [folder, running.data_dir])
                    play(made)
                    yield made
            finally:
                del os.environ["CANARY"]


def play(scene: Scene) -> None:
    """Everything that holds a canary goes through everything that could keep it, with faults on the way."""
    api = scene.alone.api
    http = api.http
    scene.keys.append(api.key)
    scene.keys.append(api.post("/v1/keys", {"name": "made"}).json()["key"])
    hook = api.post(
        "/v1/webhook_endpoints",
        {
            "name": "h",
            "url": f"http://127.0.0.1:47998/{WEBHOOK}",
            "event_types": ["batch.failed", "batch.completed", "rightsize.job.ended"],
        },
    ).json()
    scene.keys.append(hook["signing_secret"])
    said = chat(PROMPT, metadata={"expected": ANSWER, "labels": f"{ANSWER},other"}, user=NAME)
    assert ANSWER in api.post("/v1/chat/completions", said).text
    scene.look()
    assert ANSWER in api.post("/v1/chat/completions", {**said, "stream": True}).text
    scene.look()
    assert (
        ANSWER
        in api.post(
            "/v1/responses",
            {"model": "auto", "input": PROMPT, "metadata": {"expected": ANSWER}, "instructions": PROMPT},
        ).text
    )
    png = f"data:image/png;base64,{IMAGE}"
    api.post(
        "/v1/chat/completions",
        chat("x", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": png}}]}]),
    )
    for marker in ("[[fail:400]]", "[[fail:garbage]]", "[[fail:usage_nan]]", "[[fail:500:1]]", "[[sleep:9]]"):
        api.post("/v1/chat/completions", chat(f"{marker} {PROMPT}"))
        scene.look()
    lines = [
        row(f"{NAME}-{n}", {**said, "messages": [{"role": "user", "content": f"[[sleep:0.2]] {PROMPT} {n}"}]})
        for n in range(40)
    ]
    bad = [*lines, {"custom_id": f"{NAME}-bad", "body": PROMPT}]
    for content in (lines, bad):
        text = b"\n".join(map(orjson.dumps, content)) + f"\n{{{FILE}".encode() * (content is bad)
        file = http.post("/v1/files", data={"purpose": "batch"}, files={"file": (f"{FILE}.jsonl", text)}).json()["id"]
        batch = api.post(
            "/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "metadata": {"a": NAME}}
        ).json()["id"]
        scene.look()
        ended(api, batch)
    strange = {
        "X-Secret": HEADER,
        "Cookie": f"session={COOKIE}",
        "User-Agent": HEADER,
        "Idempotency-Key": HEADER,
        "X-Request-Id": HEADER,
    }
    for path in (
        f"/v1/models/{PATH}",
        f"/v1/{PATH}?token={QUERY}",
        f"/v1/jobs/{PATH}",
        f"/v1/cost?by={QUERY}",
        f"/v1/files?after={QUERY}",
    ):
        http.get(path, headers=strange)
        http.get(path, headers={**strange, "Authorization": f"Bearer {WRONG_KEY}"})
    http.post(
        "/v1/jobs", content=b'{"body":"' + PROMPT.encode(), headers={**strange, "Content-Type": "application/json"}
    )
    for broken in (
        f"GET /{PATH} HTTP/9.9\r\nX: {HEADER}\r\n\r\n",
        f"{PROMPT}\r\n\r\n",
        f"POST /v1/jobs HTTP/1.1\r\nContent-Length: {HEADER}\r\n\r\n{PROMPT}",
    ):
        with connect(api) as link:
            link.sendall(broken.encode())
            link.shutdown(1)
    faults(scene, lines)


def faults(scene: Scene, lines: list[dict[str, object]]) -> None:
    """Tracebacks: the database dies while everything is in use, a worker and a dispatcher are killed, and all of it stops in order."""
    api, stack = scene.alone.api, scene.stack
    batch = stack.submit(lines)
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 2") > 0, 20)
    part = stack.instance.state.part("postgres") if stack.instance else None
    assert part is not None
    os.kill(part.pid, signal.SIGKILL)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            api.post("/v1/chat/completions", chat(PROMPT), headers={"Idempotency-Key": HEADER})
            api.http.get(f"/v1/models/{PATH}", headers={"Authorization": f"Bearer {WRONG_KEY}"})
        except httpx2.HTTPError:
            pass
    stack.wait(batch, 90)
    scene.look()
    worker = stack.processes[1]
    stack.submit(lines)
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state = 2") > 0, 20)
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    scene.look()
    stack.worker("llm", "rlm", "mllm")
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE state < 10") == 0, 60, "all jobs have ended")
    scene.look()


def test_a20_no_log_of_any_process_holds_a_canary(scene: Scene) -> None:
    logs = scene.logs()
    assert {
        name
        for name in ("orchestrator", "worker", "api", "postgres", "valkey")
        if any(name in Path(path).name for path in logs)
    } >= {"orchestrator", "worker", "api", "postgres"}
    text = "".join(logs.values())
    assert "Traceback" in text or "frames" in text or "database_away" in text, "there were faults to be told of"
    for path, said in logs.items():
        for canary in (*SECRETS, *OF_TENANT, *scene.keys):
            place = said.find(canary)
            assert place < 0, f"{path}: {said[max(0, place - 300) : place + 60]}"


def test_a20_redis_holds_content_only_in_answers_that_expire_within_a_minute(scene: Scene) -> None:
    assert any(ANSWER.encode() in value for _, value in scene.redis.values()), "answers did pass through it"
    for key, (ttl, value) in scene.redis.items():
        for canary in (*SECRETS, *OF_TENANT, *scene.keys):
            assert canary.encode() not in key, key
        for secret in (*SECRETS, FILE, IMAGE, *scene.keys):
            assert secret.encode() not in value, (key, secret, value[:300])
        if any(said.encode() in value for said in OF_TENANT):
            assert CONTENT_KEYS.fullmatch(key), key
            assert 0 < ttl <= ANSWER_KEPT_S, (key, ttl)


def test_a20_after_the_bound_nothing_of_an_answer_is_left(scene: Scene) -> None:
    """The clock is not waited for: every key that holds an answer goes once its time, which was bounded above, has come."""
    redis = scene.stack.broker.redis
    kept = [key for key in redis.scan_iter("rightsize.*") if CONTENT_KEYS.fullmatch(key)]
    for key in kept:
        redis.pexpire(key, max(1, redis.pttl(key) - ANSWER_KEPT_S * 1_000))
    until(lambda: not any(map(redis.exists, kept)), 5)
    scene.redis.clear()
    scene.look()
    for key, (_, value) in scene.redis.items():
        assert not any(canary.encode() in key + value for canary in (*SECRETS, *OF_TENANT, *scene.keys)), key


def test_a20_no_process_was_started_with_a_secret_in_its_arguments(scene: Scene) -> None:
    assert any("orchestrator" in argument for argument in scene.arguments)
    for argument in scene.arguments:
        assert not any(canary in argument for canary in (*SECRETS, *OF_TENANT, *scene.keys)), argument


@pytest.mark.parametrize(
    "path", ["/metrics", "/openapi.json", "/livez", "/readyz", "/v1/models", "/v1/webhook_event_types", "/v1/prices"]
)
def test_a20_what_is_told_of_the_service_holds_nothing_of_its_callers(scene: Scene, path: str) -> None:
    text = scene.alone.api.http.get(path).text
    assert len(text) > 10
    for canary in (*SECRETS, *OF_TENANT, *scene.keys):
        assert canary not in text


def test_a20_what_is_told_of_keys_hooks_and_acts_holds_no_secret(scene: Scene) -> None:
    for path in (
        "/v1/keys",
        "/v1/webhook_endpoints",
        "/v1/audit?limit=1000",
        "/v1/webhook_deliveries?limit=100",
        "/v1/budgets",
        "/v1/refusals",
    ):
        text = scene.alone.api.http.get(path).text
        for secret in (ENV, DATABASE, *scene.keys, PROMPT, ANSWER):
            assert secret not in text, path
    dumped = str(scene.stack.query("SELECT * FROM api_keys")) + str(scene.stack.query("SELECT * FROM audit_log"))
    assert not any(secret in dumped for secret in (*scene.keys, WRONG_KEY, ENV))


def test_a20_no_refusal_tells_a_secret_of_the_service_or_anything_of_another_caller(scene: Scene) -> None:
    api = scene.alone.api
    api.post("/v1/tenants", {"name": "other"})
    other = {"Authorization": f"Bearer {api.http.post('/v1/keys?tenant=other', json={'name': 'k'}).json()['key']}"}
    job = scene.stack.query("SELECT public_id FROM jobs ORDER BY id LIMIT 1")[0][0].hex
    told = [api.http.request(method, path, headers=other, **more) for method, path, more in (
        ("GET", f"/v1/jobs/job_{job}", {}), ("GET", f"/v1/responses/resp_{job}", {}), ("GET", "/v1/batches", {}), ("GET", "/v1/files", {}), ("GET", "/v1/keys", {}),
        ("POST", "/v1/chat/completions", {"json": {"messages": "x"}}), ("POST", "/v1/chat/completions", {"json": {"model": "nope", "messages": []}}),
        ("POST", "/v1/jobs", {"content": b"{"}), ("PUT", "/v1/budgets", {"json": {}}), ("GET", "/nothing", {}), ("GET", "/v1/usage?by=key,batch,task", {}),
    )]  # fmt: skip
    for response in told:
        for secret in (
            *SECRETS,
            *OF_TENANT,
            *scene.keys,
            str(scene.stack.settings.data_dir),
            "site-packages",
            "psycopg",
            "sqlalchemy",
        ):
            assert secret not in response.text, response.text
            assert secret not in str(response.headers)


def test_a20_nothing_was_lost_by_any_of_it(scene: Scene) -> None:
    until(lambda: scene.stack.count("SELECT count(*) FROM dispatches WHERE ended_at IS NULL") == 0, 30)
    assert scene.stack.doctor() == []
