"""Tasks over HTTP: defined in versions, told, apart by tenant, and asked which documents have a result."""

from __future__ import annotations

import hashlib
from typing import Any

from orchestrator.client import Rightsize
from tests.flow.test_documents import document
from tests.serving import Api
from tests.stack import row

TASK: dict[str, Any] = {
    "name": "invoices",
    "instructions": "Extract.",
    "output_schema": {"type": "object", "properties": {"total": {"type": "number"}}},
}


def test_editing_a_task_makes_a_version_and_the_same_definition_none(api: Api) -> None:
    with api.client as client:
        first = client.define_task(TASK)
        assert (first["version"], first["created"]) == (1, True)
        assert client.define_task(TASK)["created"] is False
        assert client.define_task({**TASK, "instructions": "Extract well."})["version"] == 2
        assert client.task("invoices")["version"] == 2
        assert client.task("invoices", 1)["definition"]["instructions"] == "Extract."
        assert [one["version"] for one in client.task_versions("invoices")] == [2, 1]
        names = [one["name"] for one in client.tasks()]
        assert "invoices" in names
        assert "extract" in names


def test_what_cannot_be_a_task_is_refused_with_its_key(api: Api) -> None:
    for body, told in (
        ({"definition": {"name": "extract", "instructions": "x"}}, "comes with Rightsize"),
        ({"definition": {"name": "a b", "instructions": "x"}}, "name"),
        ({"definition": {"name": "one"}}, "instructions"),
        ({"definition": []}, "definition"),
        ({}, "definition"),
    ):
        answer = api.post("/v1/tasks", body)
        assert answer.status_code == 400, answer.text
        assert told in answer.text
    for path in (
        "/v1/tasks/nothing",
        "/v1/tasks/extract?version=7",
        "/v1/tasks/nothing/versions",
    ):
        assert api.http.get(path).status_code == 404


def test_known_documents_are_those_with_a_result_for_this_task_and_these_parameters(api: Api) -> None:
    labels = {"labels": ["a", "b"]}
    with api.client as client:
        one, other = document("one.txt", "One."), document("two.txt", "Two.")
        hashes = [one["hash"], other["hash"]]
        before = client.known_documents("classify", hashes, parameters=labels)
        assert before["known"] == []
        batch = api.stack.submit(
            [row("one.txt", {"document": one})], hints={"task": "classify", "task_version": before["task_version"], "on_invalid_row": "report"}
        )  # fmt: skip
        assert api.stack.wait(batch).final["completed"] == 1
        assert client.known_documents("classify", hashes, parameters=labels)["known"] == [one["hash"]]
        assert client.known_documents("classify", hashes, parameters={"labels": ["a", "c"]})["known"] == []
        assert client.known_documents("classify", hashes, parameters=labels, rightsize={"tier": "rlm"})["known"] == []
        made = client.admin.create_tenant("others")
        key = client.admin.create_key("theirs", tenant="others", scopes=["submit", "read"])["key"]
    assert made["name"] == "others"
    with Rightsize(api.url, key) as theirs:
        assert theirs.known_documents("classify", hashes, parameters=labels)["known"] == []
        assert "invoices" not in [one["name"] for one in theirs.tasks()]


def test_a_batch_of_documents_says_what_it_lacks(api: Api) -> None:
    one = document("one.txt", "Nothing like it.")
    for hints, told in (
        ({}, "needs a task"),
        ({"task": "never-defined"}, "needs a task"),
    ):
        batch = api.stack.submit([row("one.txt", {"document": one})], hints=hints)
        assert told in api.stack.wait(batch).errors["data"][0]["message"]
    for hints, told in (
        ({"task": "classify"}, "needs 'labels'"),
        ({"parameters": {"labels": ["a"]}}, "of a task"),
        ({"task": "classify", "parameters": {"labels": ["a", "a"]}}, "each once"),
        ({"task": "never-defined", "task_version": 3}, "There is no task"),
    ):
        file = api.client.upload([b"{}\n"], filename="x.jsonl")["id"]
        answer = api.post(
            "/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "rightsize": hints}
        )
        assert answer.status_code in (400, 404), answer.text
        assert told in answer.json()["error"]["message"]


def test_a_document_with_fields_that_it_cannot_have_is_an_error_line(api: Api) -> None:
    wrong = [
        {**document("a", "x"), "hash": "zz"},
        {**document("b", "x"), "blocks": [[1, 2, 3]]},
        {**document("c", "x"), "colour": "red"},
        {**document("d", "x"), "blocks": [[1, "x", "paragraph", 0, [0, 0, 2, 2]]]},
        {**document("e", "x"), "bytes": -1},
    ]
    hints = {"task": "classify", "parameters": {"labels": ["a", "b"]}, "on_invalid_row": "report"}
    batch = api.stack.submit([row(one["name"], {"document": one}) for one in wrong], hints=hints)
    assert api.stack.wait(batch).final["failed"] == len(wrong)
    assert {line["error"]["code"] for line in api.stack.lines(batch)} == {"invalid_request"}
    assert hashlib.sha256(b"x").hexdigest() == document("a", "x")["hash"]
