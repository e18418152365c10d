"""Reviews and forgetting over HTTP: scopes, forms, other tenants, both clients, and results as they stand now."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import httpx2
import orjson
import pytest

from orchestrator import errors
from orchestrator.client import AsyncRightsize, Rightsize
from orchestrator.contracts import FIELDS
from tests.flow.test_documents import document
from tests.flow.test_review import RIGHT, TASK
from tests.serving import Api, make_key
from tests.stack import row


@pytest.fixture(scope="module", autouse=True)
def _task(api: Api) -> None:
    with api.client as client:
        client.define_task(TASK)


def batch_of(api: Api, *texts: str) -> str:
    """The id of an ended batch with a document for each text, all of which are for review."""
    lines = [orjson.dumps(row(f"{text}.txt", {"document": document(f"{text}.txt", text)})) for text in texts]
    with api.client as client:
        file = client.upload(lines, filename="x.jsonl")
        made = client.create_batch(
            file["id"], rightsize={"task": "bills", "task_version": 1, "on_invalid_row": "report"}
        )
        ended = client.wait(made["id"])
    assert ended["request_counts"]["completed"] == len(texts), ended
    assert (ended["rightsize"]["task"], ended["rightsize"]["task_version"]) == ("bills", 1)
    return str(ended["id"])


def review_of(client: Rightsize, name: str) -> dict[str, Any]:
    return next(one for one in client.reviews("bills") if one["document"]["name"] == f"{name}.txt")


def answer_of(line: dict[str, Any]) -> Any:
    return json.loads(line["response"]["body"]["choices"][0]["message"]["content"])


def as_(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_what_people_said_stands_in_the_results_and_the_stored_file_stays_as_it_was(api: Api) -> None:
    batch = batch_of(api, "one", "two", "three")
    with api.client as client:
        files = [client.batch(batch)["output_file_id"]]
        before = b"".join(client.content(files[0]))
        first, second = review_of(client, "one"), review_of(client, "two")
        told = client.decide_review(first["id"], "correct", RIGHT)
        assert (told["state"], told["answer"], told["result_version"]) == ("corrected", RIGHT, 2)
        client.decide_review(second["id"], "confirm")
        for in_order in (False, True):
            lines = {line["custom_id"]: line for line in client.results(batch, in_order=in_order)}
            assert answer_of(lines["one.txt"]) == RIGHT
            assert [lines[f"{name}.txt"]["rightsize"].get("result_version") for name in ("one", "two", "three")] == [
                2,
                1,
                None,
            ]
            assert {one["review"] for one in lines["two.txt"]["response"]["body"][FIELDS].values()} == {None}
            assert "not_in_source" in {one["review"] for one in lines["three.txt"]["response"]["body"][FIELDS].values()}
        assert [one["state"] for one in client.reviewed(batch)] == ["corrected", "confirmed"]
        assert b"".join(client.content(files[0])) == before
        job = client.job(told["job_id"])
        assert job["rightsize"] == {"result_version": 2, "reviewed": True, "review_id": first["id"], "forgotten": False}

        async def run() -> None:
            async with AsyncRightsize(api.url, api.key) as other:
                assert [line async for line in other.results(batch)] == list(client.results(batch))
                assert [one async for one in other.reviewed(batch)] == list(client.reviewed(batch))
                assert [one async for one in other.reviews("bills")] == list(client.reviews("bills"))
                third = review_of(client, "three")
                assert await other.review(third["id"]) == client.review(third["id"])
                assert (await other.decide_review(third["id"], "drop"))["state"] == "dropped"
                gone = await other.forget_document(third["document"]["hash"])
                assert gone["taken"]["reviews"] == 1

        asyncio.run(run())


def test_a_decision_needs_the_scope_submit_and_forgetting_the_scope_admin(api: Api) -> None:
    batch_of(api, "scopes")
    with api.client as client:
        name, digest = review_of(client, "scopes")["id"], "0" * 64
    settings = api.stack.settings
    reader, submitter = (make_key(settings, scopes=[scope]) for scope in ("read", "submit"))
    for key, method, path, body, status in (
        (reader, "GET", f"/v1/reviews/{name}", None, 200),
        (reader, "GET", "/v1/tasks/bills/reviews", None, 200),
        (submitter, "GET", f"/v1/reviews/{name}", None, 403),
        (reader, "POST", f"/v1/reviews/{name}", {"action": "confirm"}, 403),
        (submitter, "POST", f"/v1/reviews/{name}", {"action": "confirm"}, 200),
        (submitter, "POST", "/v1/documents/forget", {"hash": digest}, 403),
        (reader, "POST", "/v1/documents/forget", {"hash": digest}, 403),
    ):
        assert api.http.request(method, path, json=body, headers=as_(key)).status_code == status, (method, path)


def test_what_cannot_be_decided_is_refused_with_the_remedy(api: Api) -> None:
    batch_of(api, "refused")
    with api.client as client:
        name = review_of(client, "refused")["id"]
        for body, told in (
            ({"action": "correct"}, "Give the whole `answer`"),
            ({"action": "confirm", "answer": {}}, "leave it out"),
            ({"action": "praise"}, "action"),
            ({}, "action"),
            ({"action": "correct", "answer": {"issuer": 3, "total": "x"}}, "/issuer"),
            ({"action": "correct", "answer": {"issuer": 3, "total": "x"}}, "/total"),
        ):
            refused = api.post(f"/v1/reviews/{name}", body)
            assert refused.status_code == 400, refused.text
            assert told in refused.json()["error"]["message"]
        client.decide_review(name, "confirm")
        client.decide_review(name, "confirm")
        with pytest.raises(errors.Conflict, match="force"):
            client.decide_review(name, "drop")
        assert client.decide_review(name, "drop", force=True)["state"] == "dropped"
        for path in (
            "/v1/tasks/bills/reviews?state=lost",
            "/v1/tasks/bills/reviews?limit=0",
            "/v1/tasks/bills/reviews?limit=101",
        ):
            assert api.http.get(path).status_code == 400, path
        for path in (
            "/v1/reviews/review_1",
            f"/v1/reviews/review_{'0' * 32}",
            f"/v1/batches/batch_{'0' * 32}/reviewed",
            "/v1/tasks/never/reviews",
        ):
            assert api.http.get(path).status_code == 404, path


def test_another_tenants_review_is_as_unknown_as_any_other(api: Api) -> None:
    batch = batch_of(api, "apart")
    with api.client as client:
        name = review_of(client, "apart")["id"]
        client.admin.create_tenant("apart")
        theirs = client.admin.create_key("theirs", tenant="apart", scopes=["submit", "read", "admin"])["key"]
        digest = hashlib.sha256(b"apart").hexdigest()

    def told(method: str, path: str, body: Any = None) -> tuple[int, str]:
        response: httpx2.Response = api.http.request(method, path, json=body, headers=as_(theirs))
        return response.status_code, response.text.replace(name, "ID").replace(f"review_{'0' * 32}", "ID").replace(
            batch, "B"
        ).replace(f"batch_{'0' * 32}", "B")

    for method, path, body in (
        ("GET", "/v1/reviews/{}", None), ("POST", "/v1/reviews/{}", {"action": "drop"}), ("GET", "/v1/tasks/extract/reviews?after={}", None),
    ):  # fmt: skip
        assert told(method, path.format(name), body) == told(method, path.format(f"review_{'0' * 32}"), body)
        assert told(method, path.format(name), body)[0] == 404
    assert told("GET", f"/v1/batches/{batch}/reviewed") == told("GET", f"/v1/batches/batch_{'0' * 32}/reviewed")
    with Rightsize(api.url, theirs) as other:
        assert list(other.reviews("extract")) == []
        assert not any(other.forget_document(digest)["taken"].values())
    with api.client as client:
        assert client.review(name)["state"] == "open"


def test_forgetting_counts_what_was_taken_and_twice_is_fine(api: Api) -> None:
    batch = batch_of(api, "forgotten", "kept")
    digest = hashlib.sha256(b"forgotten").hexdigest()
    with api.client as client:
        name = review_of(client, "forgotten")
        told = client.forget_document(digest)
        assert told["taken"]["jobs"] == told["taken"]["results"] == told["taken"]["reviews"] == 1
        assert (told["taken"]["lines"], len(told["files"])) == (2, 2)
        job = client.job(name["job_id"])
        assert (job["rightsize"]["forgotten"], job["result"], job["error"]["code"]) == (True, None, "forgotten")
        lines = {line["custom_id"]: line for line in client.results(batch, in_order=True)}
        assert lines["forgotten.txt"]["error"]["code"] == "forgotten"
        assert lines["kept.txt"]["error"] is None
        assert not any(client.forget_document(digest)["taken"].values())
        with pytest.raises(errors.NotFound):
            client.review(name["id"])
        assert client.known_documents("bills", [digest], version=1)["known"] == []
    for wrong in ("0" * 63, "Z" * 64, 7, None):
        assert api.post("/v1/documents/forget", {"hash": wrong}).status_code == 400
    assert api.stack.doctor() == []
