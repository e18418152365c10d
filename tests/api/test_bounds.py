"""Keys, and bounds on what comes in: nothing that a caller sends may end in a 5xx."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import orjson
import pytest
from sqlalchemy import text

from orchestrator.errors import InvalidRequest
from orchestrator.incoming import MOST_NESTED, json_object
from tests.serving import Api, make_key, serve
from tests.stack import Stack

JSON = {"Content-Type": "application/json"}
CHAT = "/v1/chat/completions"


def test_every_route_but_health_wants_a_key(api: Api) -> None:
    routes = api.http.get("/openapi.json").json()["paths"]
    assert {"/v1/files", "/v1/batches", "/v1/jobs", CHAT} <= set(routes)
    for path, methods in routes.items():
        for method in methods:
            status = api.http.request(method, path, headers={"Authorization": ""}).status_code
            assert status == (200 if path in ("/livez", "/readyz", "/metrics") else 401), path


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer rs_short", "Basic abc", "Bearer rs_" + "a" * 43, "Bearer rs_" + "ä" * 43]
)
def test_a3_a_key_that_is_not_known_is_refused_in_openais_form(api: Api, value: str) -> None:
    response = api.http.get("/v1/models", headers={"Authorization": value.encode("utf-8")})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


def test_a4_two_authorization_headers_are_no_key(api: Api) -> None:
    both = [("Authorization", f"Bearer {api.key}"), ("Authorization", f"Bearer {api.key}")]
    assert raw(api, "GET", "/v1/models", both).startswith(b"HTTP/1.1 401")


def test_a3_a_revoked_key_is_refused_soon(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(api.stack.settings)
    headers = {"Authorization": f"Bearer {key}"}
    assert api.http.get("/v1/models", headers=headers).status_code == 200
    with api.stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE api_keys SET revoked_at = now() WHERE id = (SELECT max(id) FROM api_keys)"))
    monkeypatch.setattr("orchestrator.api.keys.FRESH_S", 0.0)
    assert api.http.get("/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize("path", [CHAT, "/v1/jobs", "/v1/batches", "/v1/explain"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"NaN", b'{"a":NaN}', b'{"a":Infinity}', b"\xff\xfe", b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}', b'{"a":"\\u0000"}', b'{"\\u0000":1}', b'{"a":1,"a":2}', b"\x00", b'{"a":1e999}', b'{"a":' + b"9" * 100_000 + b"}",
        b"[" * 100_000, b'{"a":' * 100_000, b'{"a":[' + b"[]," * 50 + b"[" * 65 + b"]" * 65 + b"]}",
        orjson.dumps({f"k{n}": n for n in range(100_000)}), '{"messages":"\u202e"}'.encode(),
    ],
    ids=range(22),
)  # fmt: skip
def test_a6_a7_a_body_that_is_no_request_is_a_4xx_at_once(api: Api, path: str, body: bytes) -> None:
    began = time.monotonic()
    response = api.http.post(path, content=body, headers=JSON)
    assert 400 <= response.status_code < 500
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert time.monotonic() - began < 15


def test_a6_a_path_or_query_that_holds_anything_is_a_4xx(api: Api) -> None:
    for path in (
        "/v1/jobs/job_%00",
        "/v1/jobs/%ff%fe",
        "/v1/batches/%ed%a0%80",
        "/v1/models/%27%3b--",
        "/v1/batches?after=%00",
    ):
        assert 400 <= api.http.get(path).status_code < 500
    for query in ("by=%00", "by=tenant", "batch=%ff", "batch=" + "x" * 1000):
        assert 400 <= api.http.get(f"/v1/cost?{query}").status_code < 500
    for key in ("x" * 256, "ä", "a b"):
        response = api.http.post("/v1/batches", content=b"{}", headers={**JSON, "Idempotency-Key": key.encode()})
        assert 400 <= response.status_code < 500


def test_a_body_over_the_limit_is_a_413_whether_it_says_its_length_or_not(api: Api) -> None:
    large = b'{"a":"' + b"x" * (5 * 1024 * 1024) + b'"}'
    assert api.http.post(CHAT, content=large, headers=JSON).status_code == 413
    pieces = raw(api, "POST", CHAT, [("Authorization", f"Bearer {api.key}"), ("Transfer-Encoding", "chunked"), *JSON.items()],
                 b"".join(b"100000\r\n" + b"x" * 0x100000 + b"\r\n" for _ in range(5)) + b"0\r\n\r\n")  # fmt: skip
    assert pieces.startswith(b"HTTP/1.1 413")


def test_a8_a_compressed_body_is_not_read(api: Api) -> None:
    response = api.http.post(CHAT, content=b"x", headers={**JSON, "Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999999999", "0x10"])
def test_a8_a_length_that_lies_is_refused(api: Api, length: str) -> None:
    answer = raw(
        api, "POST", CHAT, [("Authorization", f"Bearer {api.key}"), ("Content-Length", length), *JSON.items()], b"{}"
    )
    assert answer[:10] in (b"HTTP/1.1 4", b"")


def test_depth_is_found_whatever_stands_in_the_strings() -> None:
    deep = orjson.loads(b'{"a":' * 63 + b"1" + b"}" * 63)
    assert json_object(orjson.dumps(deep), 64)
    with pytest.raises(InvalidRequest, match="more than 64 deep"):
        json_object(b'{"a":' * 65 + b"1" + b"}" * 65, 64)
    tricky = orjson.dumps({"a": '[[[[{{{{"\\' * 1000, "b": [{"c": "]]]}}}"}] * 200})
    assert json_object(tricky, 3)
    with pytest.raises(InvalidRequest):
        json_object(tricky, 2)
    with pytest.raises(InvalidRequest, match="arrays and objects"):
        json_object(b"[" + b"[]," * (MOST_NESTED + 1) + b"[]]", 64)


@pytest.mark.parametrize("tail", [b'"\\"' * 400_000, b'\\"' * 600_000, b'"' * 1_000_001, b'[["\\' * 300_000])
def test_a7_no_text_makes_the_depth_check_slow(tail: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequest):
        json_object(b"[" * 70 + tail, 64)
    assert time.monotonic() - began < 15


def test_a_backslash_before_u0000_is_text_and_no_nul() -> None:
    assert json_object(rb'{"a":"\\u0000"}', 8) == {"a": "\\u0000"}
    with pytest.raises(InvalidRequest, match="NUL"):
        json_object(rb'{"a":"\\\u0000"}', 8)


@pytest.fixture
def strict(module_stack: Stack) -> Iterator[Api]:
    """An API with little patience."""
    with serve(module_stack, piece_within_s=0.5, patience_s=0.5, bytes_per_s=1000) as api:
        yield api


def test_a8_slowloris_a_silent_body_is_a_408(strict: Api) -> None:
    head = [("Authorization", f"Bearer {strict.key}"), ("Content-Length", "1000"), *JSON.items()]
    answer = raw(strict, "POST", CHAT, head, b"{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request_timeout"' in answer


def test_a8_slowloris_a_body_in_drops_is_a_408(strict: Api) -> None:
    head = [("Authorization", f"Bearer {strict.key}"), ("Content-Length", "1000"), *JSON.items()]
    assert raw(strict, "POST", CHAT, head, b"{" * 200, pause_s=0.02).startswith(b"HTTP/1.1 408")


def test_a8_slowloris_a_head_that_does_not_end_is_cut_off(module_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.api.server.HEAD_WITHIN_S", 0.5)
    with serve(module_stack) as api, connected(api) as link:
        link.sendall(b"GET /livez HTTP/1.1\r\nX-A: b\r\n")
        assert received(link) == b""
    with serve(module_stack) as api, connected(api) as link:
        link.sendall(b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: b\r\n" % n for n in range(20_000)))
        assert received(link) == b""


def test_an_answer_may_take_longer_than_a_body(strict: Api) -> None:
    response = strict.post(CHAT, {"messages": [{"role": "user", "content": "[[sleep:1.5]]"}]})
    assert response.status_code == 200


def test_a_fault_of_ours_is_a_500_with_an_id_and_without_the_request(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "canary-in-the-exception"

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr("orchestrator.api.insight.features_of", broken)
    response = api.post("/v1/explain", {"body": {"messages": [{"role": "user", "content": "canary-in-the-body"}]}})
    assert response.status_code == 500
    message = response.json()["error"]["message"]
    assert "fault_" in message
    logged = [record for record in caplog.records if record.getMessage() == "request_failed"]
    assert len(logged) == 1
    assert logged[0].fields["id"] in message
    assert "canary" not in str(logged[0].fields) + caplog.text + message


def connected(api: Api) -> socket.socket:
    host, port = api.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def raw(
    api: Api, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"", *, pause_s: float = 0.0
) -> bytes:
    """What the server answers to bytes as they are; a body goes in drops where there is a pause."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with connected(api) as link:
        link.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        try:
            if pause_s:
                for drop in range(len(body)):
                    link.sendall(body[drop : drop + 1])
                    time.sleep(pause_s)
            else:
                link.sendall(body)
        except ConnectionError:
            pass
        return received(link)


def received(link: socket.socket) -> bytes:
    """What comes within five seconds: nothing where the server hangs up."""
    link.settimeout(5)
    try:
        return link.recv(100_000)
    except ConnectionError:
        return b""
