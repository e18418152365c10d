"""`client.batches`: every call that the official client has for batches, and all that can become of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import openai
import orjson
import pytest
from sqlalchemy import text

from tests.api.test_batches import FIELDS, jsonl
from tests.contract.sdk import Sdk
from tests.serving import Api
from tests.stack import ENDED, chat, row, rows, until

Lines = list[dict[str, Any]]
CHAT = "/v1/chat/completions"
FEW = 10
"""Rows that sleep: the model has places for others beside them, in whatever order they come."""


def upload(sdk: Sdk, lines: Lines) -> str:
    return str(sdk(sdk.client.files.create(file=("rows.jsonl", jsonl(lines)), purpose="batch")).id)


def create(sdk: Sdk, lines: Lines, window: str = "24h", endpoint: str = CHAT, **more: Any) -> openai.types.Batch:
    return sdk(
        sdk.client.batches.create(
            input_file_id=upload(sdk, lines), endpoint=endpoint, completion_window=window, **more
        )
    )  # fmt: skip


def reached(sdk: Sdk, batch_id: str, *statuses: str) -> openai.types.Batch:
    return until(lambda: (b := sdk(sdk.client.batches.retrieve(batch_id))).status in statuses and b, 40, statuses[0])


def ended(sdk: Sdk, batch_id: str) -> openai.types.Batch:
    return reached(sdk, batch_id, *ENDED)


def lines_of(sdk: Sdk, file_id: str | None) -> Lines:
    if file_id is None:
        return []
    return [orjson.loads(line) for line in sdk(sdk.client.files.content(file_id)).content.splitlines()]


def test_a_batch_goes_from_rows_to_answers_with_usage_and_every_stamp(sdk: Sdk) -> None:
    made = create(sdk, rows(20), metadata={"team": "support"})
    assert (made.object, made.status, made.endpoint, made.completion_window) == ("batch", "validating", CHAT, "24h")
    batch = ended(sdk, made.id)
    assert (batch.status, batch.metadata, batch.errors) == ("completed", {"team": "support"}, None)
    counts, usage = batch.request_counts, batch.usage
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (20, 20, 0)
    assert usage is not None
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (0, 0)
    stamps = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at, batch.expires_at]
    assert all(isinstance(stamp, int) for stamp in stamps)
    assert stamps == sorted(stamps)
    assert batch.expires_at == batch.created_at + 86_400
    lines = lines_of(sdk, batch.output_file_id)
    assert {line["custom_id"] for line in lines} == {f"row-{number}" for number in range(20)}
    for line in lines:
        assert line["id"].startswith("batch_req_")
        assert (line["error"], line["response"]["status_code"]) == (None, 200)
        assert line["response"]["request_id"]
        assert openai.types.chat.ChatCompletion.model_validate(line["response"]["body"]).choices[0].message.content


@pytest.mark.parametrize(
    "endpoint, body, kind",
    [
        ("/v1/embeddings", {"model": "fast", "input": "x"}, openai.types.CreateEmbeddingResponse),
        ("/v1/completions", {"model": "fast", "prompt": "x"}, openai.types.Completion),
        ("/v1/responses", {"model": "fast", "input": "x"}, openai.types.responses.Response),
    ],
)
def test_every_endpoint_that_is_served_takes_batches(sdk: Sdk, endpoint: str, body: dict[str, Any], kind: Any) -> None:
    batch = ended(sdk, create(sdk, [row("a", body, endpoint)], endpoint=endpoint).id)
    (line,) = lines_of(sdk, batch.output_file_id)
    assert kind.model_validate(line["response"]["body"])


@contextmanager
def held_back(api: Api) -> Iterator[None]:
    """No file can be written down meanwhile, so that a batch stays finalizing."""
    with api.stack.context.database.unit_of_work() as session:
        session.execute(text("LOCK TABLE files IN SHARE MODE"))
        yield


def test_every_field_is_there_in_every_status(api: Api, sdk: Sdk) -> None:
    seen: dict[str, set[str]] = {}

    def look(batch_id: str) -> str:
        body = api.http.get(f"/v1/batches/{batch_id}").json()
        assert set(openai.types.Batch.model_validate(body).model_dump()) >= FIELDS
        seen[body["status"]] = set(body)
        return str(body["status"])

    created = sdk(sdk.client.batches.with_raw_response.create(
        input_file_id=upload(sdk, rows(3)), endpoint=CHAT, completion_window="24h",
    )).http_response.json()  # fmt: skip
    seen[created["status"]] = set(created)
    first = ended(sdk, created["id"]).id
    look(first)
    late = create(sdk, [row("slow", chat("[[sleep:1]] x"))])
    with held_back(api):
        until(lambda: look(late.id) == "finalizing", 30)
    failed = create(sdk, [{"custom_id": "x"}])
    expiring = create(sdk, [row("slow", chat("[[sleep:60]] x"))], window="2s")
    cancelling = create(sdk, [row(str(n), chat("[[sleep:3]] x")) for n in range(100)])
    until(lambda: look(cancelling.id) == "in_progress", 30)
    sdk(sdk.client.batches.cancel(cancelling.id))
    look(cancelling.id)
    for batch in (failed, expiring, cancelling):
        until(lambda batch_id=batch.id: look(batch_id) in ENDED, 40)
    assert set(seen) == {
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled",
    }  # fmt: skip
    assert all(fields == FIELDS for fields in seen.values())


def test_a_row_that_is_wrong_fails_the_batch_with_its_line_and_code(sdk: Sdk) -> None:
    wrong = [*rows(2), {"custom_id": "row-0", "method": "POST", "url": CHAT, "body": chat("again")}]
    batch = ended(sdk, create(sdk, wrong).id)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert batch.errors is not None
    assert batch.errors.object == "list"
    (error,) = batch.errors.data or []
    assert (error.code, error.line) == ("duplicate_custom_id", 3)
    assert error.message


@pytest.mark.parametrize(
    "line, code",
    [
        ({**row("a", chat("x")), "url": "/v1/embeddings"}, "mismatched_endpoint"),
        ({**row("a", chat("x")), "method": "GET"}, "invalid_method"),
        (row("a", {**chat("x"), "stream": True}), "invalid_request"),
        (row("a", {**chat("x"), "model": "gpt-nothing"}), "model_not_found"),
        ({"method": "POST", "url": CHAT, "body": chat("x")}, "missing_custom_id"),
    ],
    ids=["another url", "another method", "streamed", "unknown model", "no id"],
)
def test_what_a_row_may_not_be_is_told_before_anything_runs(sdk: Sdk, line: dict[str, Any], code: str) -> None:
    batch = ended(sdk, create(sdk, [line]).id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [(error.code, error.line) for error in batch.errors.data or []] == [(code, 1)]


def test_rows_that_fail_have_their_lines_in_the_error_file(sdk: Sdk) -> None:
    lines = [row("good", chat("x")), row("bad", chat("[[fail:400]]")), row("worse", chat("[[fail:500]]"))]
    batch = ended(sdk, create(sdk, lines).id)
    counts = batch.request_counts
    assert counts is not None
    assert (batch.status, counts.completed, counts.failed) == ("completed", 1, 2)
    assert [line["custom_id"] for line in lines_of(sdk, batch.output_file_id)] == ["good"]
    failed = {line["custom_id"]: line for line in lines_of(sdk, batch.error_file_id)}
    assert {name: line["error"]["code"] for name, line in failed.items()} == {
        "bad": "bad_request", "worse": "server_error",
    }  # fmt: skip
    assert all(line["response"] is None and line["error"]["message"] for line in failed.values())
    assert sdk(sdk.client.files.retrieve(batch.error_file_id)).purpose == "batch_output"


def test_a_batch_that_expires_keeps_what_was_done_and_says_what_was_not(sdk: Sdk) -> None:
    lines = [*rows(5), *(row(f"slow-{number}", chat(f"[[sleep:60]] {number}")) for number in range(FEW))]
    batch = ended(sdk, create(sdk, lines, window="4s").id)
    assert batch.status == "expired"
    assert batch.expired_at is not None
    counts = batch.request_counts
    assert counts is not None
    assert (counts.completed, counts.failed) == (5, FEW)
    assert {line["custom_id"] for line in lines_of(sdk, batch.output_file_id)} == {f"row-{n}" for n in range(5)}
    failed = lines_of(sdk, batch.error_file_id)
    assert len(failed) == FEW
    assert {(line["response"], line["error"]["code"]) for line in failed} == {(None, "batch_expired")}


def test_every_row_that_was_not_done_in_its_window_has_openais_code_and_words(sdk: Sdk) -> None:
    lines = [row(f"slow-{number}", chat(f"[[sleep:60]] {number}")) for number in range(40)]
    batch = ended(sdk, create(sdk, lines, window="2s").id)
    told = {(line["error"]["code"], line["error"]["message"]) for line in lines_of(sdk, batch.error_file_id)}
    assert told == {
        ("batch_expired", "This request could not be executed before the completion window expired.")
    }  # fmt: skip


def test_the_model_that_served_a_batch_is_told_before_its_end_and_after_it(sdk: Sdk) -> None:
    made = create(sdk, [row("slow", chat("[[sleep:1]] x"))])
    assert reached(sdk, made.id, "in_progress").model == "fast"
    assert ended(sdk, made.id).model == "fast"


def test_a_batch_that_is_cancelled_keeps_what_was_done(sdk: Sdk) -> None:
    lines = [*rows(5), *(row(f"slow-{number}", chat(f"[[sleep:60]] {number}")) for number in range(FEW))]
    made = create(sdk, lines)
    until(lambda: sdk(sdk.client.batches.retrieve(made.id)).request_counts.completed == 5, 30)
    cancelled = sdk(sdk.client.batches.cancel(made.id))
    assert cancelled.status == "cancelling"
    assert cancelled.cancelling_at is not None
    batch = ended(sdk, made.id)
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    assert len(lines_of(sdk, batch.output_file_id)) == 5
    failed = lines_of(sdk, batch.error_file_id)
    assert len(failed) == FEW
    assert {line["error"]["code"] for line in failed} == {"batch_cancelled"}
    assert Decimal(batch.model_extra["rightsize"]["cost_usd"]) > 0


def test_batches_are_listed_page_by_page(sdk: Sdk) -> None:
    file_id = upload(sdk, rows(1))
    made = [
        sdk(
            sdk.client.batches.create(
                input_file_id=file_id, endpoint=CHAT, completion_window="24h", metadata={"n": str(number)}
            )
        ).id
        for number in range(5)
    ]
    assert [batch.id for batch in sdk.every(sdk.client.batches.list(limit=2), 5)] == made[::-1]
    page = sdk(sdk.client.batches.list(limit=3))
    assert (page.has_more, page.has_next_page(), [batch.id for batch in page.data]) == (True, True, made[:1:-1])
    assert [batch.id for batch in sdk(page.get_next_page()).data][:2] == made[1::-1]
    with pytest.raises(openai.BadRequestError):
        sdk(sdk.client.batches.list(limit=101))


def test_outputs_expire_as_they_were_asked_to(sdk: Sdk) -> None:
    asked = {"anchor": "created_at", "seconds": 7_200}
    lines = [row("good", chat("x")), row("bad", chat("[[fail:400]]"))]
    batch = ended(sdk, create(sdk, lines, output_expires_after=asked).id)
    for name in (batch.output_file_id, batch.error_file_id):
        file = sdk(sdk.client.files.retrieve(name))
        assert file.expires_at == file.created_at + 7_200
    with pytest.raises(openai.BadRequestError):
        create(sdk, lines, output_expires_after={"anchor": "created_at", "seconds": 1})


def test_wrong_metadata_are_refused_in_plain_words(sdk: Sdk) -> None:
    for metadata in ({str(n): "x" for n in range(17)}, {"long": "x" * 513}, {"": "x"}):
        with pytest.raises(openai.BadRequestError) as caught:
            create(sdk, [row("one", chat("x"))], metadata=metadata)
        assert caught.value.param == "metadata"
        assert "`metadata`: must be at most 16 texts of at most 512 characters" in caught.value.message


def test_a_create_that_is_sent_again_makes_one_batch(sdk: Sdk) -> None:
    given = {"input_file_id": upload(sdk, rows(1)), "endpoint": CHAT, "completion_window": "24h"}
    first = sdk(sdk.client.batches.create(**given))
    again = sdk(sdk.client.batches.create(**given, extra_headers={"x-stainless-retry-count": "1"}))
    assert again.id == first.id
    assert sdk(sdk.client.batches.create(**given)).id != first.id


def test_an_idempotency_key_makes_one_batch_and_refuses_another_request(sdk: Sdk) -> None:
    given = {"input_file_id": upload(sdk, rows(1)), "endpoint": CHAT, "completion_window": "24h"}
    key = {"extra_headers": {"Idempotency-Key": f"contract-{sdk.is_async}"}}
    first = sdk(sdk.client.batches.create(**given, **key))
    assert sdk(sdk.client.batches.create(**given, **key)).id == first.id
    with pytest.raises(openai.ConflictError) as caught:
        sdk(sdk.client.batches.create(**{**given, "metadata": {"a": "b"}}, **key))
    assert (caught.value.code, caught.value.type) == ("idempotency_conflict", "invalid_request_error")
