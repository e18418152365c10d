"""Answers at which people should look: noted with the result, decided once, and delivered as they were corrected."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from orchestrator import ids
from orchestrator.contracts import FIELDS
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.flow import review as reviewing_fields
from orchestrator.flow import reviewing, tasks, upkeep
from orchestrator.flow.administer import Actor
from orchestrator.flow.reviewing import Decision
from orchestrator.flow.show import show_job
from orchestrator.settings import Settings
from orchestrator.store import review
from orchestrator.store.session import Database
from tests.flow.test_documents import document, known, lines_of
from tests.stack import OWNER, Stack

ACTOR = Actor(OWNER.tenant_id, "key_test")
SCHEMA = {
    "type": "object", "required": ["issuer", "total"], "additionalProperties": False,
    "properties": {"issuer": {"type": "string"}, "total": {"type": "number"}},
}  # fmt: skip
TASK = {
    "name": "bills", "instructions": "Extract.", "output_schema": SCHEMA,
    "checks": [{"field": "/total", "rule": "range", "least": "0", "most": "1000"}, {"field": "/issuer", "rule": "in_source"}],
}  # fmt: skip
HINTS = {"task": "bills", "on_invalid_row": "report"}
BILL = "Anvil Works. To pay: 12.50"
RIGHT = {"issuer": "Anvil Works", "total": 12.5}


@pytest.fixture
def bills(stack: Stack) -> Stack:
    """A stack with the task, an orchestrator and a worker."""
    tasks.define(stack.context, OWNER, TASK)
    stack.orchestrator()
    stack.worker("llm")
    return stack


def open_review(stack: Stack) -> dict[str, Any]:
    """The one review that is open, as its reader sees it."""
    (found,) = reviewing.listed(stack.context, OWNER, "bills", state="open", after=None, limit=10)["data"]
    return reviewing.show(stack.context, OWNER, found["id"])


def decide(stack: Stack, name: str, action: Any, answer: Any = None, *, force: bool = False, by: Actor = ACTOR) -> Any:
    return reviewing.decide(stack.context, by, name, Decision(action, answer, force))


def test_a_value_that_stands_nowhere_is_on_the_list_with_its_result(bills: Stack) -> None:
    line = lines_of(bills, document("a.txt", BILL), hints=HINTS)["a.txt"]
    answer = json.loads(line["response"]["body"]["choices"][0]["message"]["content"])
    found = open_review(bills)
    flagged = {pointer for pointer, one in line["response"]["body"][FIELDS].items() if one["review"]}
    assert flagged == set(found["fields"])
    assert all(one["reasons"] == ["not_in_source"] for one in found["fields"].values())
    assert found["fields"]["/issuer"]["value"] == answer["issuer"]
    assert (found["state"], found["task"], found["task_version"], found["result_version"]) == ("open", "bills", 1, 1)
    assert found["document"] == {"name": "a.txt", "hash": hashlib.sha256(BILL.encode()).hexdigest()}
    assert found["answer"] == answer
    job = show_job(bills.context, OWNER, found["job_id"])
    assert job["rightsize"] == {"result_version": 1, "reviewed": False, "review_id": found["id"], "forgotten": False}


def test_jobs_of_no_document_and_pieces_are_never_on_the_list(bills: Stack) -> None:
    batch = bills.submit(
        [{"custom_id": "x", "body": {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}}]
    )
    bills.wait(batch)
    assert bills.count("SELECT count(*) FROM reviews") == 0
    (job,) = bills.query("SELECT * FROM jobs")
    fields = orjson.dumps(
        {"/issuer": {"value": "x", "reasons": ["not_in_source"], "confidence": None, "page": 1, "box": None}}
    ).decode()
    with bills.context.database.unit_of_work() as session:
        review.put(session, [(job.id, fields)])
    assert bills.count("SELECT count(*) FROM reviews") == 0


def test_a_document_in_pieces_is_on_the_list_once_where_its_pieces_differ(bills: Stack) -> None:
    """`note` is what the reducer calls in the transaction in which it stores the one answer."""
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    with bills.context.database.unit_of_work() as session:
        session.execute(text("DELETE FROM reviews"))
        job = session.execute(text("SELECT * FROM jobs")).one()
        told = {"page": 1, "box": [0, 0, 1, 1], "found": True}
        fields = {
            "/issuer": {**told, "confidence": None, "review": "conflict"}, "/total": {**told, "confidence": 0.4, "review": None},
            "/nul\0": {**told, "confidence": None, "review": "conflict"},
        }  # fmt: skip
        reviewing_fields.note(session, job, fields, '{"issuer": "A\\u0000\\ud800", "total": 1e999}')
    assert {pointer: one["reasons"] for pointer, one in open_review(bills)["fields"].items()} == {
        "/issuer": ["conflict"], "/nul": ["conflict"],
    }  # fmt: skip
    assert open_review(bills)["fields"]["/issuer"]["value"] == "A?"
    with bills.context.database.unit_of_work() as session:
        session.execute(text("DELETE FROM reviews"))
        reviewing_fields.note(
            session, job, {"": {**told, "confidence": None, "review": "conflict"}}, "Two of three said: sell."
        )
    assert open_review(bills)["fields"][""]["value"] == "Two of three said: sell."


def test_fields_less_sure_than_the_task_wants_are_on_the_list(bills: Stack) -> None:
    """A scan that was read with a confidence of 0.85: what stands on it is no surer than that."""
    tasks.define(bills.context, OWNER, {**TASK, "review": {"min_confidence": 0.9}})
    scanned = {"pages": [{"number": 1, "source": "ocr", "confidence": 0.85, "why": "it was sure enough", "chars": 20}]}
    text = "This answer is simulated: no model has read the request."
    lines_of(bills, document("a.txt", text, **scanned), hints={**HINTS, "task_version": 2})
    fields = open_review(bills)["fields"]
    unsure = {pointer: one["confidence"] for pointer, one in fields.items() if one["reasons"] == ["low_confidence"]}
    assert unsure
    assert set(unsure.values()) == {0.85}


def test_a_correction_is_the_next_version_wherever_the_result_is_read(bills: Stack) -> None:
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    found = open_review(bills)
    early = lines_of(bills, known("copy.txt", BILL), hints=HINTS)["copy.txt"]
    assert early["rightsize"]["reused"] is True
    told = decide(bills, found["id"], "correct", RIGHT)
    assert (told["state"], told["answer"], told["result_version"], told["decided_by"]) == (
        "corrected",
        RIGHT,
        2,
        "key_test",
    )
    for (public_id,) in bills.query(
        "SELECT public_id FROM jobs ORDER BY id"
    ):  # the first, and the one that took its result over
        job = orjson.loads(orjson.dumps(show_job(bills.context, OWNER, ids.public("job", public_id))))
        assert json.loads(job["result"]["choices"][0]["message"]["content"]) == RIGHT
        assert (job["rightsize"]["result_version"], job["rightsize"]["reviewed"]) == (2, True)
    again = lines_of(bills, known("later.txt", BILL), hints=HINTS)["later.txt"]
    body = again["response"]["body"]
    assert json.loads(body["choices"][0]["message"]["content"]) == RIGHT
    assert {one["review"] for one in body[FIELDS].values()} == {None}
    assert body[FIELDS]["/issuer"]["reviewed"] == "corrected"
    assert reviewing.listed(bills.context, OWNER, "bills", state="open", after=None, limit=10)["data"] == []
    with bills.context.database.unit_of_work() as session:
        (label,) = review.labels(session, OWNER.tenant_id, "bills")
    assert label.body is not None
    assert (label.task_version, json.loads(review.answer_in(label.body))) == (1, RIGHT)
    (act,) = bills.query("SELECT * FROM audit_log WHERE action LIKE 'review.%'")
    assert (act.action, act.actor, act.target) == ("review.corrected", "key_test", found["id"])
    assert "Anvil" not in str(act.detail)


def test_a_correction_that_breaks_the_form_or_a_rule_is_refused_with_each_pointer(bills: Stack) -> None:
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    name = open_review(bills)["id"]
    for answer, pointers in (
        ({"issuer": 3, "total": "x"}, ("/issuer", "/total")),
        ({"issuer": "Anvil Works", "total": 5000}, ("/total: it must lie between 0 and 1000",)),
        ({"issuer": "Anvil Works"}, ("total",)),
        (None, ("the whole",)),
        ("text", ("the whole",)),
    ):
        with pytest.raises(InvalidRequest) as refused:
            decide(bills, name, "correct", answer)
        assert all(pointer in refused.value.message for pointer in pointers), refused.value.message
    assert open_review(bills)["result_version"] == 1
    # That a value stands nowhere in the document a person knows better.
    assert decide(bills, name, "correct", {"issuer": "Of another page", "total": 1})["state"] == "corrected"


def test_the_same_decision_twice_is_one_and_another_needs_force(bills: Stack) -> None:
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    name = open_review(bills)["id"]
    assert decide(bills, name, "correct", RIGHT)["result_version"] == 2
    assert decide(bills, name, "correct", RIGHT)["result_version"] == 2
    other = {**RIGHT, "total": 13}
    for action, answer in (("correct", other), ("confirm", None), ("drop", None)):
        with pytest.raises(Conflict, match=r"It was corrected by key_test.*force"):
            decide(bills, name, action, answer)
    assert decide(bills, name, "correct", other, force=True)["result_version"] == 3
    told = decide(bills, name, "drop", force=True)
    assert (told["state"], told["answer"]["total"]) == ("dropped", 13)
    with bills.context.database.unit_of_work() as session:
        assert list(review.labels(session, OWNER.tenant_id, "bills")) == []
    assert decide(bills, name, "confirm", force=True)["state"] == "confirmed"
    assert bills.count("SELECT count(*) FROM audit_log WHERE action LIKE 'review.%'") == 4


def test_of_many_who_decide_at_once_one_wins_and_the_others_are_told(bills: Stack) -> None:
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    name = open_review(bills)["id"]

    def attempt(number: int) -> str:
        try:
            decide(bills, name, "correct", {**RIGHT, "total": number}, by=Actor(OWNER.tenant_id, f"key_{number}"))
        except Conflict as error:
            return error.message
        return "won"

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(attempt, range(6)))
    assert told.count("won") == 1
    assert all("It was corrected by key_" in one for one in told if one != "won")
    assert bills.query("SELECT version FROM result_versions") == [(2,)]
    winner = told.index("won")
    found = reviewing.show(bills.context, OWNER, name)
    assert (found["answer"]["total"], found["decided_by"]) == (winner, f"key_{winner}")


def test_a_large_result_is_corrected_as_well(bills: Stack, settings: Settings) -> None:
    with closing(Database(settings, "owner", connections=1)) as owner, owner.unit_of_work() as session:
        session.execute(text("GRANT UPDATE (body, blob_key) ON results TO rightsize_orchestrator"))
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    with bills.context.database.unit_of_work() as session:
        body = session.execute(text("SELECT body FROM results")).scalar_one()
        bills.context.blobs.put("results/00000000/large", bytes(body))
        session.execute(text("UPDATE results SET body = NULL, blob_key = 'results/00000000/large'"))
    name = open_review(bills)["id"]
    assert open_review(bills)["answer"] == json.loads(review.answer_in(bytes(body)))
    assert decide(bills, name, "correct", RIGHT)["answer"] == RIGHT
    again = lines_of(bills, known("again.txt", BILL), hints=HINTS)["again.txt"]
    assert json.loads(again["response"]["body"]["choices"][0]["message"]["content"]) == RIGHT
    assert bills.count("SELECT count(*) FROM results WHERE blob_key IS NOT NULL") == 1


def test_pages_of_reviews_go_on_behind_the_last_one(bills: Stack) -> None:
    lines_of(bills, *(document(f"{number}.txt", f"{BILL} {number}") for number in range(5)), hints=HINTS)
    seen, after = [], None
    while True:
        page = reviewing.listed(bills.context, OWNER, "bills", state="open", after=after, limit=2)
        seen += [one["id"] for one in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert len(seen) == len(set(seen)) == 5
    with pytest.raises(NotFound, match="no task 'never'"):
        reviewing.listed(bills.context, OWNER, "never", state="open", after=None, limit=2)
    with pytest.raises(NotFound):
        reviewing.listed(bills.context, OWNER, "bills", state="open", after=f"review_{'0' * 32}", limit=2)


def test_another_tenant_sees_nothing_and_the_database_itself_sees_to_it(bills: Stack, settings: Settings) -> None:
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    name = open_review(bills)["id"]
    decide(bills, name, "correct", RIGHT)
    with closing(Database(settings, "app", connections=1)) as app:
        for tenant, count in ((None, 0), (OWNER.tenant_id, 1), (OWNER.tenant_id + 1, 0)):
            with app.unit_of_work(tenant) as session:
                for table in ("reviews", "result_versions"):
                    assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == count
                    if not count:
                        assert session.execute(text(f"DELETE FROM {table} RETURNING 1")).all() == []
        for change in (
            "UPDATE results SET body = 'x'", "UPDATE attempts SET detail = 'x'", "UPDATE job_requests SET body = 'x'",
            "UPDATE attempts SET fault_message = 'x'", "UPDATE results SET blob_key = 'x', body = NULL", "UPDATE results SET attempt = 7",
            f"INSERT INTO result_versions (job_id, version, tenant_id, batch_id, stored_on, body, decided_by) VALUES (1, 9, {OWNER.tenant_id + 1}, 1, now(), '', '')",
        ):  # fmt: skip
            with (
                pytest.raises(ProgrammingError, match=r"row-level security|permission denied"),
                app.unit_of_work(OWNER.tenant_id) as session,
            ):
                session.execute(text(change))
    other = Actor(OWNER.tenant_id + 1, "key_other")
    with pytest.raises(NotFound) as theirs:
        decide(bills, name, "confirm", by=other)
    with pytest.raises(NotFound) as nobodys:
        decide(bills, f"review_{'0' * 32}", "confirm", by=other)
    assert theirs.value.message.replace(name, "") == nobodys.value.message.replace(f"review_{'0' * 32}", "")


def test_reviews_and_versions_go_with_their_results_and_not_before(bills: Stack) -> None:
    lines_of(bills, document("a.txt", BILL), hints=HINTS)
    decide(bills, open_review(bills)["id"], "correct", RIGHT)
    upkeep.forget_reviews(bills.context, lambda: False)
    old = "stored_on - 70"
    with bills.context.database.unit_of_work() as session:
        for table in ("reviews", "result_versions"):
            session.execute(text(f"UPDATE {table} SET stored_on = {old}"))
    assert bills.count("SELECT count(*) FROM reviews") == bills.count("SELECT count(*) FROM result_versions") == 1
    upkeep.forget_reviews(bills.context, lambda: False)  # there is no result of that day
    assert bills.count("SELECT count(*) FROM reviews") == bills.count("SELECT count(*) FROM result_versions") == 0


def test_only_what_may_be_for_people_is_read_of_an_answer() -> None:
    assert reviewing_fields.noted(None) is None
    assert (
        reviewing_fields.noted(orjson.dumps({"choices": [{"message": {"content": '{"rightsize_fields": 1}'}}]})) is None
    )
    found = {"found": True, "page": 1, "box": None, "confidence": None, "review": None}
    assert reviewing_fields.noted(orjson.dumps({FIELDS: {"/a": found}, "choices": []})) is None
    many = {f"/{number}": {**found, "review": "not_in_source"} for number in range(3_000)}
    noted = reviewing_fields.noted(orjson.dumps({FIELDS: many, "choices": []}))
    assert noted is not None
    assert len(orjson.loads(noted)) == reviewing_fields.MOST_FIELDS
