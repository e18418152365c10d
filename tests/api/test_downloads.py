"""Downloads: whole, by range, cut short, from a folder and from a bucket."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx2
import orjson
import psutil
import pytest

from orchestrator.api import health
from orchestrator.api.downloads import asked_range
from orchestrator.blobs import PIECE_BYTES, s3
from orchestrator.settings import Settings
from tests.s3 import S3Server, serving
from tests.serving import Api, serve
from tests.stack import Stack, chat, row, rows, until

CONTENT = bytes(range(251)) * (3 * PIECE_BYTES // 251) + b"end"


def upload(api: Api, content: bytes = CONTENT, name: str = "rows.jsonl") -> str:
    files = {"file": (name, io.BytesIO(content))}
    return str(api.http.post("/v1/files", data={"purpose": "user_data"}, files=files).json()["id"])


@pytest.fixture(scope="module")
def file_id(api: Api) -> str:
    return upload(api)


def fetch(api: Api, file_id: str, **headers: str) -> httpx2.Response:
    return api.http.get(f"/v1/files/{file_id}/content", headers={k.replace("_", "-"): v for k, v in headers.items()})


# What a Range asks for


@pytest.mark.parametrize(
    "header, size, wanted",
    [
        (None, 10, None),
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=3-7", 10, (3, 8)),
        ("bytes=3-999", 10, (3, 10)),
        ("bytes=9-", 10, (9, 10)),
        ("bytes=-1", 10, (9, 10)),
        ("bytes=-999", 10, (0, 10)),
        ("Bytes=3-7", 10, (3, 8)),
        # None of its bytes: 416.
        ("bytes=10-", 10, (10, 10)),
        ("bytes=11-20", 10, (11, 10)),
        ("bytes=-0", 10, (10, 10)),
        ("bytes=0-", 0, (0, 0)),
        ("bytes=-5", 0, (0, 0)),
        # Not served as ranges: all of it.
        ("bytes=7-3", 10, None),
        ("bytes=-", 10, None),
        ("bytes=", 10, None),
        ("bytes", 10, None),
        ("", 10, None),
        ("lines=0-1", 10, None),
        ("bytes=0-1,4-5", 10, None),
        ("bytes=0x1-5", 10, None),
        ("bytes=1.5-5", 10, None),
        ("bytes=--5", 10, None),
        ("bytes=\u0661-\u0665", 10, None),
        ("bytes=0-" + "9" * 5_000, 10, None),
        ("bytes=" + " " * 50_000 + "x", 10, None),
        ("bytes=" + "1" * 50_000, 10, None),
    ],
)
def test_a_range_is_read_as_rfc_9110_says(header: str | None, size: int, wanted: tuple[int, int] | None) -> None:
    assert asked_range(header, size) == wanted


# From a folder


def test_a_whole_file_comes_with_its_length_and_its_name(api: Api, file_id: str) -> None:
    found = fetch(api, file_id)
    assert (found.status_code, found.content) == (200, CONTENT)
    headers = found.headers
    assert (headers["content-length"], headers["accept-ranges"]) == (str(len(CONTENT)), "bytes")
    assert (headers["content-type"], headers["cache-control"]) == ("application/octet-stream", "no-store")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == 'attachment; filename="rows.jsonl"'
    assert "content-range" not in headers


def test_an_empty_file_is_a_file(api: Api) -> None:
    empty = upload(api, b"")
    found = fetch(api, empty)
    assert (found.status_code, found.content, found.headers["content-length"]) == (200, b"", "0")
    assert fetch(api, empty, Range="bytes=0-").status_code == 416


@pytest.mark.parametrize("name", ['a"b.jsonl', "a;b.jsonl", "Zeilen für Grüße.jsonl", "a%20b", "'"])
def test_a_name_cannot_break_out_of_its_header(api: Api, name: str) -> None:
    stored = api.http.post("/v1/files", data={"purpose": "user_data"}, files={"file": (name, b"x")}).json()
    disposition = fetch(api, stored["id"]).headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=utf-8''")
    assert unquote(disposition.partition("''")[2]) == stored["filename"]
    assert not set(disposition.partition("''")[2]) & set("\"';, ")


@pytest.mark.parametrize(
    "header, start, end",
    [
        ("bytes=0-0", 0, 1),
        (f"bytes=1-{PIECE_BYTES + 5}", 1, PIECE_BYTES + 6),
        (f"bytes={PIECE_BYTES}-", PIECE_BYTES, len(CONTENT)),
        ("bytes=-3", len(CONTENT) - 3, len(CONTENT)),
        (f"bytes=5-{10**15}", 5, len(CONTENT)),
    ],
)
def test_one_range_is_a_206_that_says_which(api: Api, file_id: str, header: str, start: int, end: int) -> None:
    found = fetch(api, file_id, Range=header)
    assert (found.status_code, found.content) == (206, CONTENT[start:end])
    assert found.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert found.headers["content-length"] == str(end - start)


def test_a_range_beyond_the_file_is_a_416_with_its_size_in_openais_form(api: Api, file_id: str) -> None:
    found = fetch(api, file_id, Range=f"bytes={len(CONTENT)}-")
    assert found.status_code == 416
    assert found.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert found.json()["error"]["code"] == "range_not_satisfiable"


@pytest.mark.parametrize("header", ["bytes=0-1,4-5", "lines=0-1", "bytes=7-3", "nonsense"])
def test_what_is_not_served_as_a_range_gives_the_whole_file(api: Api, file_id: str, header: str) -> None:
    found = fetch(api, file_id, Range=header)
    assert (found.status_code, len(found.content)) == (200, len(CONTENT))


def test_a_range_that_depends_on_a_version_gives_the_whole_file(api: Api, file_id: str) -> None:
    found = fetch(api, file_id, Range="bytes=0-1", If_Range='"what it was"')
    assert (found.status_code, len(found.content)) == (200, len(CONTENT))


def test_a_download_does_not_grow_memory(api: Api) -> None:
    large = upload(api, b"x" * 60_000_000)
    fetch(api, large, Range="bytes=0-1000000")
    before, most, received = psutil.Process().memory_info().rss, 0, 0
    with api.http.stream("GET", f"/v1/files/{large}/content") as response:
        for piece in response.iter_bytes(1 << 20):
            received += len(piece)
            most = max(most, psutil.Process().memory_info().rss - before)
    assert received == 60_000_000
    assert most < 10_000_000


def open_files(api: Api) -> list[str]:
    root = str(api.stack.context.blobs.root)  # type: ignore[attr-defined]
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(root)]


def test_a_reader_that_stalls_and_hangs_up_leaves_no_file_open_and_blocks_nobody(api: Api, file_id: str) -> None:
    large = upload(api, b"x" * 40_000_000)
    host, port = api.url.removeprefix("http://").split(":")
    head = f"GET /v1/files/{large}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n"
    links = [socket.create_connection((host, int(port))) for _ in range(20)]  # more than there are threads
    for link in links:
        link.sendall(head.encode())
        assert link.recv(12) == b"HTTP/1.1 200"
    until(lambda: len(open_files(api)) == len(links), 10)
    assert fetch(api, file_id).content == CONTENT
    for link in links:
        link.close()
    until(lambda: not open_files(api), 10)


def test_a_file_whose_content_is_gone_is_a_404_that_says_why(api: Api) -> None:
    lost = upload(api)
    before = api.http.get(f"/v1/files/{lost}").json()
    for path in api.stack.settings.blobs.rglob(f"*{lost.removeprefix('file_')}"):
        path.unlink()
    assert before["bytes"] == len(CONTENT)
    found = fetch(api, lost)
    assert (found.status_code, found.json()["error"]["code"]) == (404, "not_found")
    assert "retention" in found.json()["error"]["message"]


def test_a_file_that_is_cut_short_meanwhile_is_never_passed_off_as_whole(api: Api, tmp_path: Path) -> None:
    large = upload(api, b"x" * 40_000_000)
    (path,) = api.stack.settings.blobs.rglob(f"*{large.removeprefix('file_')}")
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        api.http.stream("GET", f"/v1/files/{large}/content") as response,
    ):
        pieces = response.iter_raw()
        next(pieces)
        with path.open("r+b") as file:
            file.truncate(20_000_000)
        for _ in pieces:
            pass


# From a bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[S3Server, str]]:
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server, server.new_bucket()


@pytest.fixture
def over_s3(settings: Settings, bucket: tuple[S3Server, str]) -> Iterator[Stack]:
    """Everything over a bucket, and no folder: a row's body of more than 100 bytes is a blob."""
    with Stack(settings.model_copy(update={"blob_url": f"s3://{bucket[1]}/rs", "inline_body_bytes": 100})) as stack:
        stack.broker.redis.flushdb()
        yield stack


def test_a_batch_runs_from_upload_to_results_over_a_bucket_alone(over_s3: Stack) -> None:
    over_s3.orchestrator()
    over_s3.worker()
    with serve(over_s3) as api:
        lines = [*rows(30, "x" * 200), row("small", chat("Hi"))]
        content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        made = api.openai.files.create(file=("rows.jsonl", content), purpose="batch")
        assert api.openai.files.content(made.id).content == content
        batch = api.openai.batches.create(
            input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = until(lambda: (b := api.openai.batches.retrieve(batch.id)).status == "completed" and b, 40)
        answers = [orjson.loads(line) for line in api.openai.files.content(done.output_file_id).text.splitlines()]
        assert {line["custom_id"] for line in answers} == {line["custom_id"] for line in lines}
        assert fetch(api, made.id, Range="bytes=-10").content == content[-10:]
        assert len(list(api.stack.context.blobs.keys("results"))) == len(lines)
        single = api.post("/v1/chat/completions", chat("y" * 300))
        assert single.status_code == 200
    assert not over_s3.settings.blobs.exists()
    over_s3.must_hold()


@pytest.mark.fault
def test_readiness_says_that_the_bucket_is_away_and_uploads_and_downloads_are_503(
    over_s3: Stack, bucket: tuple[S3Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    monkeypatch.setattr(s3, "RETRIES", 0)
    with serve(over_s3) as api:
        ready = api.http.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["disk"]) == (200, "ok")
        kept = upload(api)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody listens there
    with serve(over_s3) as api:
        ready = api.http.get("/readyz")
        assert ready.status_code == 503
        assert "AWS_ENDPOINT_URL" in ready.json()["checks"]["disk"]
        assert ready.json()["checks"]["database"] == "ok"
        for found in (
            fetch(api, kept),
            api.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("x", b"x")}),
        ):
            assert (found.status_code, found.json()["error"]["code"]) == (503, "service_unavailable")
            assert "AWS_ENDPOINT_URL" in found.json()["error"]["message"]


def test_readiness_asks_the_bucket_only_now_and_then(over_s3: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 600.0)
    with serve(over_s3) as api:
        assert api.http.get("/readyz").status_code == 200
        monkeypatch.setattr(s3.S3Blobs, "put", lambda *_: pytest.fail("asked again"))
        assert api.http.get("/readyz").status_code == 200
