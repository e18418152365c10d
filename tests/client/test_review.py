"""What people said of results, laid over the lines of a batch; and that both clients have the verbs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from orchestrator.client.forget import AsyncForgets, Forgets
from orchestrator.client.review import AsyncReviews, Overlay, Reviews, decide_call
from orchestrator.contracts import FIELDS

OF_DOCUMENTS = {"id": "batch_1", "rightsize": {"task_version": 3}}


def line(name: str, content: str = "old", **fields: Any) -> dict[str, Any]:
    body = {"choices": [{"message": {"content": content}}], FIELDS: fields}
    return {
        "custom_id": name,
        "response": {"status_code": 200, "body": body},
        "error": None,
        "rightsize": {"tier": "llm"},
    }


def told(name: str, version: int, body: Any) -> dict[str, Any]:
    return {"custom_id": name, "result_version": version, "state": "corrected" if body else "confirmed", "body": body}


def test_lines_of_which_nobody_said_anything_are_given_on_byte_by_byte() -> None:
    untouched = b'{"custom_id": "a",  "response": {"body": {"x": 1.0e2}}, "error": null}'
    new = {"choices": [{"message": {"content": "new"}}]}
    seen = Overlay([told("b", 2, new)])
    first, second = seen.raw([untouched, orjson.dumps(line("b"))])
    assert first == untouched + b"\n"
    now = orjson.loads(second)
    assert now["response"] == {"status_code": 200, "body": new}
    assert now["rightsize"] == {"tier": "llm", "result_version": 2, "reviewed": True}


def test_a_confirmed_answer_stays_and_is_for_review_no_more() -> None:
    sure, unsure = {"review": None, "page": 1}, {"review": "conflict", "page": 2}
    now = Overlay([told("a", 1, None)]).line(line("a", **{"/x": unsure, "/y": sure}))
    body = now["response"]["body"]
    assert body["choices"] == line("a")["response"]["body"]["choices"]
    assert body[FIELDS] == {"/x": {"review": None, "page": 2, "reviewed": "confirmed"}, "/y": sure}
    assert now["rightsize"]["reviewed"] is True


def test_a_line_without_an_answer_stays_whatever_was_said() -> None:
    failed = {"custom_id": "a", "response": None, "error": {"code": "forgotten"}}
    assert Overlay([told("a", 2, {"choices": []})]).line(failed) is failed


@pytest.mark.parametrize(
    "batch", [{"id": "b"}, {"id": "b", "rightsize": {}}, {"id": "b", "rightsize": {"task_version": None}}]
)
def test_nothing_is_asked_of_a_batch_that_is_of_no_documents(batch: dict[str, Any]) -> None:
    def asked() -> Iterator[dict[str, Any]]:
        raise AssertionError("it was asked")
        yield {}

    assert not Overlay.of(batch, asked())
    with pytest.raises(AssertionError, match="asked"):
        Overlay.of(OF_DOCUMENTS, asked())


def test_only_a_correction_carries_an_answer() -> None:
    assert decide_call("review_1", "correct", None, force=False).body == {
        "action": "correct",
        "force": False,
        "answer": None,
    }
    assert decide_call("review_1", "drop", None, force=True).body == {"action": "drop", "force": True}
    assert decide_call("review/../x", "drop", None, force=True).path == "/v1/reviews/review%2F..%2Fx"


@pytest.mark.parametrize("one, other", [(Reviews, AsyncReviews), (Forgets, AsyncForgets)])
def test_both_clients_have_the_same_verbs(one: type, other: type) -> None:
    def verbs(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(made).parameters) for name, made in found if not name.startswith("_")}

    assert verbs(one) == verbs(other) != {}
