"""Files and batches through the official `openai` client, against a real port."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path

import openai
import orjson
import psutil
import pytest

from tests.serving import Api
from tests.stack import chat, row, rows, until

FIELDS = {
    "id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status", "output_file_id",
    "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at",
    "cancelling_at", "cancelled_at", "request_counts", "usage", "metadata", "rightsize",
}  # fmt: skip


def jsonl(lines: list[dict[str, object]]) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


def upload(api: Api, lines: list[dict[str, object]]) -> str:
    return api.openai.files.create(file=("rows.jsonl", jsonl(lines)), purpose="batch").id


def create(api: Api, lines: list[dict[str, object]], **more: object) -> str:
    made = api.openai.batches.create(
        input_file_id=upload(api, lines), endpoint="/v1/chat/completions", completion_window="24h", **more
    )
    return made.id


def ended(api: Api, batch_id: str) -> openai.types.Batch:
    terminal = {"completed", "failed", "expired", "cancelled"}
    return until(lambda: (b := api.openai.batches.retrieve(batch_id)).status in terminal and b, 30, "the batch ends")


def test_the_official_client_takes_a_batch_from_upload_to_priced_results(api: Api) -> None:
    batch = ended(api, create(api, rows(120), metadata={"team": "support"}))
    assert batch.status == "completed"
    assert batch.metadata == {"team": "support"}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (120, 120, 0)
    assert batch.usage is not None
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    assert batch.error_file_id is None
    lines = [orjson.loads(line) for line in api.openai.files.content(batch.output_file_id).text.splitlines()]
    assert {line["custom_id"] for line in lines} == {f"row-{number}" for number in range(120)}
    assert all(line["response"]["status_code"] == 200 and line["rightsize"]["simulated"] for line in lines)
    ours = batch.model_extra["rightsize"]
    assert Decimal(ours["cost_usd"]) == sum(Decimal(line["rightsize"]["cost_usd"]) for line in lines)
    assert ours["tiers"]["llm"]["planned"] == ours["tiers"]["llm"]["completed"] == 120


def test_every_field_of_a_batch_is_there_from_the_start(api: Api) -> None:
    file_id = upload(api, rows(2))
    made = api.post("/v1/batches", {"input_file_id": file_id, "endpoint": "/v1/chat/completions"}).json()
    assert set(made) == FIELDS
    assert (made["status"], made["completion_window"]) == ("validating", "24h")
    assert made["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert set(api.http.get(f"/v1/batches/{made['id']}").json()) == FIELDS
    assert set(made["rightsize"]) == {
        "tiers", "states", "cost_usd", "estimate_usd", "max_cost_usd", "paused", "retry_of", "merged_output_file_id", "task",
        "task_version",
    }  # fmt: skip


def test_a_malformed_row_fails_the_validation_with_its_line(api: Api) -> None:
    batch = ended(api, create(api, [*rows(2), {"custom_id": "row-0"}]))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [(error.code, error.line) for error in batch.errors.data] == [("duplicate_custom_id", 3)]
    assert set(batch.model_dump()) >= FIELDS


def test_failed_rows_are_in_the_error_file_and_counted(api: Api) -> None:
    lines = [row("good", chat("Hello")), row("bad", chat("[[fail:400]]"))]
    batch = ended(api, create(api, lines))
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 1, 1)
    line = orjson.loads(api.openai.files.content(batch.error_file_id).content)
    assert (line["custom_id"], line["error"]["code"]) == ("bad", "bad_request")


def test_a_batch_is_cancelled_at_once_and_its_end_is_final(api: Api) -> None:
    batch_id = create(api, [row(str(n), chat(f"[[sleep:2]] {n}")) for n in range(200)])
    until(lambda: api.openai.batches.retrieve(batch_id).status == "in_progress", 10)
    assert api.openai.batches.cancel(batch_id).status == "cancelling"
    batch = ended(api, batch_id)
    assert batch.status == "cancelled"
    assert batch.request_counts.completed + batch.request_counts.failed == 200
    assert api.openai.batches.cancel(batch_id).status == "cancelled"


def test_progress_is_told_by_tier_while_a_batch_runs(api: Api) -> None:
    lines = [*rows(50), *(row(f"slow-{n}", chat("[[sleep:1]] Hi", rightsize={"stakes": "high"})) for n in range(4))]
    batch_id = create(api, lines)
    seen = until(
        lambda: (
            (tiers := api.http.get(f"/v1/batches/{batch_id}").json()["rightsize"]["tiers"])
            and tiers["llm"]["completed"] == 50
            and tiers
        ),
        15,
    )
    assert (seen["llm"]["planned"], seen["rlm"]["planned"]) == (50, 4)
    assert ended(api, batch_id).request_counts.completed == 54


def test_batches_are_listed_newest_first_page_by_page(api: Api) -> None:
    made = [create(api, rows(1)) for _ in range(3)]
    page = api.openai.batches.list(limit=2)
    assert [batch.id for batch in page.data] == [made[2], made[1]]
    assert page.has_more
    assert made[0] in [batch.id for batch in api.openai.batches.list(limit=2, after=page.data[-1].id).data]
    assert [batch.id for batch, _ in zip(api.openai.batches.list(limit=1), range(3), strict=False)] == made[::-1]
    assert api.http.get("/v1/batches?limit=101").status_code == 400


def test_the_same_idempotency_key_gives_the_same_batch_and_another_request_a_conflict(api: Api) -> None:
    body = {"input_file_id": upload(api, rows(1)), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    first = api.post("/v1/batches", body, headers={"Idempotency-Key": "once"}).json()["id"]
    assert api.post("/v1/batches", body, headers={"Idempotency-Key": "once"}).json()["id"] == first
    other = api.post("/v1/batches", {**body, "completion_window": "1h"}, headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_a_create_that_the_official_client_sends_again_makes_no_second_batch(api: Api) -> None:
    body = {"input_file_id": upload(api, rows(1)), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    first = api.post("/v1/batches", body).json()["id"]
    assert api.post("/v1/batches", body, headers={"x-stainless-retry-count": "1"}).json()["id"] == first
    assert api.post("/v1/batches", body, headers={"x-stainless-retry-count": "0"}).json()["id"] != first


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "/v1/nope"},
        {"completion_window": "soon"},
        {"completion_window": 24},
        {"input_file_id": "../../etc/passwd"},
        {"input_file_id": "file_" + "0" * 32},
        {"metadata": {f"k{n}": "v" for n in range(17)}},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {"k" * 65: "v"}},
        {"metadata": {"k": 1}},
        {"rightsize": {"tier": "huge"}},
        {"rightsize": {"max_cost_usd": "NaN"}},
        {"rightsize": {"unknown": 1}},
        {"tenant_id": 2},
    ],
    ids=str,
)
def test_a_wrong_create_is_refused_in_openais_form(api: Api, change: dict[str, object]) -> None:
    body = {"input_file_id": upload(api, rows(1)), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    response = api.post("/v1/batches", {**body, **change})
    assert response.status_code in (400, 404)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_a_file_of_another_purpose_is_no_input(api: Api) -> None:
    batch = ended(api, create(api, rows(1)))
    body = {"input_file_id": batch.output_file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    response = api.post("/v1/batches", body)
    assert response.status_code == 400
    assert "purpose=batch" in response.json()["error"]["message"]


def test_hints_beside_the_body_and_nul_are_refused_with_the_rows_own_id(api: Api) -> None:
    beside = {**row("beside", chat("x")), "rightsize": {"tier": "slm"}}
    report = {"extra_body": {"rightsize": {"on_invalid_row": "report"}}}
    batch = ended(api, create(api, [beside, row("nul", chat("a\0b")), row("good", chat("y"))], **report))
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    lines = [orjson.loads(line) for line in api.openai.files.content(batch.error_file_id).text.splitlines()]
    assert {line["custom_id"]: line["error"]["code"] for line in lines} == {
        "beside": "misplaced_hints",
        "nul": "invalid_text",
    }


def test_a_batch_that_could_cost_more_than_its_cap_fails_before_anything_runs(api: Api) -> None:
    batch = ended(api, create(api, rows(10), extra_body={"rightsize": {"max_cost_usd": "0.002"}}))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data[0].code == "budget_exhausted"


# Files


def test_a_file_comes_back_as_it_was_sent(api: Api) -> None:
    content = bytes(range(256)) * 4096
    made = api.openai.files.create(file=("a.bin", content), purpose="user_data")
    assert (made.bytes, made.filename, made.purpose, made.status) == (len(content), "a.bin", "user_data", "processed")
    assert api.openai.files.retrieve(made.id).id == made.id
    assert api.openai.files.content(made.id).content == content


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "/etc/passwd", "a\x00b.jsonl", "..\\x.jsonl", "n" * 4000, "b\u202egnp.exe", "\r\nX: y"],
)
def test_a11_a_file_name_is_a_label_and_never_a_path(api: Api, name: str, module_settings: object) -> None:
    response = api.http.post("/v1/files", data={"purpose": "batch"}, files={"file": (name, b"{}\n")})
    assert response.status_code == 200
    label = response.json()["filename"]
    assert "/" not in label
    assert "\\" not in label
    assert label.isprintable()
    assert 0 < len(label) <= 255
    stored = {path.parent.name for path in api.stack.context.blobs.root.rglob("*") if path.is_file()}
    assert stored <= {"inputs", "batches", *(p for p in stored if len(p) == 32)}
    assert api.http.get(f"/v1/files/{response.json()['id']}/content").content == b"{}\n"


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


FILE = b'Content-Disposition: form-data; name="file"; filename="x"\r\n\r\n{}'
PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        form(PURPOSE),
        form(FILE),
        form(FILE, FILE, PURPOSE),
        form(*[PURPOSE] * 100),
        form(b'Content-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 100_000, FILE),
        form(PURPOSE, FILE)[:-20],
        form(b"A: " + b"x" * 100_000 + b"\r\n\r\n", FILE),
        form(b'Content-Disposition: form-data; name="purpose"\r\n\r\nsecrets', FILE),
    ],
    ids=range(10),
)
def test_a10_a_broken_form_is_refused_and_leaves_nothing_behind(api: Api, body: bytes) -> None:
    root = api.stack.context.blobs.root
    before = len(list(root.rglob("*")))
    response = api.http.post("/v1/files", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    assert len(list(root.rglob("*"))) == before


def test_the_order_of_fields_does_not_matter(api: Api) -> None:
    response = api.http.post(
        "/v1/files", content=form(FILE, PURPOSE), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert response.json()["bytes"] == 2


def test_a_file_over_the_limit_is_refused_by_its_length_and_by_its_bytes(api: Api) -> None:
    most = api.stack.settings.max_file_bytes
    declared = api.http.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("x", io.BytesIO(b"x" * (most + 200_000)))}
    )
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "request_too_large")
    slightly = api.http.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("x", io.BytesIO(b"x" * (most + 1)))}
    )
    assert slightly.status_code == 413
    assert not list(api.stack.context.blobs.root.rglob(".writing-*"))


def test_an_upload_does_not_grow_memory(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for _ in range(60):
            file.write(b"x" * 1_000_000)
    upload(api, rows(1))
    before = psutil.Process().memory_info().rss
    most = 0
    with path.open("rb") as file:
        response = api.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("x", file)})
        most = max(most, psutil.Process().memory_info().rss - before)
    assert response.json()["bytes"] == 60_000_000
    assert most < 20_000_000


def test_what_is_not_there_is_a_404_in_openais_form(api: Api) -> None:
    for path in (
        "/v1/files/file_x",
        f"/v1/files/file_{'0' * 32}/content",
        f"/v1/batches/batch_{'f' * 32}",
        "/v1/nope",
        "/docs",
    ):
        response = api.http.get(path)
        assert response.status_code == 404
        assert response.json()["error"]["type"] == "not_found_error"
    refused = api.http.put("/v1/files/file_x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method_not_allowed")


def test_a8_a_hang_up_in_the_middle_of_an_upload_leaves_nothing_behind(api: Api) -> None:
    import socket

    root = api.stack.context.blobs.root
    before = {path for path in root.rglob("*") if path.is_file()}
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as link:
        head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 50000000\r\n\r\n"
        link.sendall(head.encode() + b"--b\r\n" + FILE + b"x" * 3_000_000)
        until(lambda: list(root.rglob(".writing-*")), 5)
    until(lambda: {path for path in root.rglob("*") if path.is_file()} <= before, 5)
