"""Equal documents that are asked at the same time: one is answered and paid, the others wait for its result."""

from __future__ import annotations

from decimal import Decimal

from orchestrator.flow import cancel, coalesce, pause
from tests.flow.test_documents import LABELS, define, document, long_document
from tests.stack import OWNER, Stack, row, until

CHARGES = "SELECT count(*) FROM transfers WHERE kind = 'charge'"
WAITING = "SELECT count(*) FROM jobs WHERE state = 4 AND reused_job_id IS NOT NULL"


def submit(stack: Stack, *texts: str, more: dict[str, object] | None = None) -> int:
    """A batch of documents with these texts; its id."""
    rows = [row(f"{place}.txt", {"document": document(f"{place}.txt", text)}) for place, text in enumerate(texts)]
    return stack.submit(rows, hints={**LABELS, **(more or {})})


def test_a_document_that_lies_twice_in_a_folder_is_asked_once(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    batch = submit(stack, "One", "Two", "One", "One")
    ended = stack.wait(batch)
    stack.must_hold(batch, 4)
    assert (ended.final["completed"], stack.count(CHARGES)) == (4, 2)
    lines = {line["custom_id"]: line for line in stack.lines(batch)}
    assert [lines[f"{n}.txt"]["rightsize"]["reused"] for n in range(4)] == [False, False, True, True]
    assert lines["2.txt"]["response"]["body"] == lines["0.txt"]["response"]["body"]
    assert lines["2.txt"]["rightsize"]["document"]["name"] == "2.txt"
    assert Decimal(lines["2.txt"]["rightsize"]["cost_usd"]) == 0
    assert lines["2.txt"]["rightsize"]["reasons"][0].startswith("The same document was answered before, by job_")


def test_a_second_batch_waits_for_what_the_first_still_works_on(stack: Stack) -> None:
    stack.orchestrator()
    first = submit(stack, *(f"Document {n}" for n in range(20)))
    until(lambda: stack.batch(first).status == "in_progress")
    second = submit(stack, *(f"Document {n}" for n in range(10, 30)))
    until(lambda: stack.batch(second).status == "in_progress")
    assert stack.count(WAITING) == 10
    stack.worker("llm")
    for batch in (first, second):
        assert stack.wait(batch).final["completed"] == 20
        stack.must_hold(batch, 20)
    assert stack.count(CHARGES) == 30


def test_of_those_that_wait_for_one_that_fails_one_is_asked_and_the_others_wait_for_that(stack: Stack) -> None:
    stack.orchestrator()
    first = submit(stack, "Same")
    until(lambda: stack.batch(first).status == "in_progress")
    second = submit(stack, "Same", "Same", "Other")
    until(lambda: stack.batch(second).status == "in_progress")
    assert stack.count(WAITING) == 2
    cancel.cancel_batch(stack.context, OWNER, stack.batch(first).public_id)
    until(lambda: stack.count(WAITING) == 1, what="one of them is queued")
    stack.worker("llm")
    assert stack.wait(second).final["completed"] == 3
    stack.must_hold(second, 3)
    assert stack.count(CHARGES) == 2


def test_nobody_waits_for_a_batch_that_is_paused(stack: Stack) -> None:
    stack.orchestrator()
    first = submit(stack, "Same")
    until(lambda: stack.batch(first).status == "in_progress")
    second = submit(stack, "Same")
    until(lambda: stack.count(WAITING) == 1)
    pause.pause_batch(stack.context, OWNER, stack.batch(first).public_id)
    third = submit(stack, "Same")
    stack.worker("llm")
    for batch in (second, third):
        assert stack.wait(batch).final["completed"] == 1
    assert stack.count(CHARGES) == 1
    assert stack.wait(first).final["completed"] == 1  # by what the others made
    assert stack.count(CHARGES) == 1


def test_who_wants_everything_asked_anew_has_each_document_asked_once_and_takes_nothing_of_before(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    stack.wait(submit(stack, "Same"))
    batch = submit(stack, "Same", "Same", more={"refresh": True})
    assert stack.wait(batch).final["completed"] == 2
    stack.must_hold(batch, 2)
    assert stack.count(CHARGES) == 2
    lines = {line["custom_id"]: line["rightsize"]["reused"] for line in stack.lines(batch)}
    assert lines == {"0.txt": False, "1.txt": True}


def test_a_batch_that_stood_still_pays_for_nothing_that_another_made_meanwhile(stack: Stack) -> None:
    stack.orchestrator()
    first = submit(stack, *(f"Document {n}" for n in range(5)), "Only here")
    until(lambda: stack.batch(first).status == "in_progress")
    pause.pause_batch(stack.context, OWNER, stack.batch(first).public_id)
    second = submit(stack, *(f"Document {n}" for n in range(5)))
    stack.worker("llm")
    assert stack.wait(second).final["completed"] == 5
    until(lambda: stack.count("SELECT count(*) FROM jobs WHERE batch_id = :b AND state = 10", b=first) == 5)
    pause.resume_batch(stack.context, OWNER, stack.batch(first).public_id)
    assert stack.wait(first).final["completed"] == 6
    stack.must_hold(first, 6)
    assert stack.count(CHARGES) == 6


def test_the_pieces_of_equal_documents_are_asked_once(stack: Stack) -> None:
    stack.orchestrator()
    task = define(stack, splitting={"reduce": "concat", "max_tokens": 1_000})
    rows = [row(name, {"document": long_document(name)}) for name in ("a.pdf", "b.pdf")]
    batch = stack.submit(rows, hints={"task": task})
    until(lambda: stack.batch(batch).status == "in_progress")
    pieces = stack.count("SELECT pieces FROM jobs WHERE pieces > 0 LIMIT 1")
    assert stack.count(WAITING) == pieces > 2
    stack.worker("llm")
    assert stack.wait(batch).final["completed"] == 2
    stack.must_hold(batch, 2)
    assert stack.count(CHARGES) == pieces


def test_one_that_may_take_longer_is_not_waited_for(stack: Stack) -> None:
    """The first has a day, the second an hour: it would expire over the wait."""
    stack.orchestrator()
    first = stack.submit([row("a.txt", {"document": document("a.txt", "Same")})], hints=LABELS, window="24h")
    until(lambda: stack.batch(first).status == "in_progress")
    second = submit(stack, "Same")
    until(lambda: stack.batch(second).status == "in_progress")
    assert stack.count(WAITING) == 0


def test_two_orchestrators_settle_each_job_once(stack: Stack) -> None:
    stack.orchestrator()
    stack.orchestrator()
    first = submit(stack, *(f"Document {n}" for n in range(50)))
    second = submit(stack, *(f"Document {n}" for n in range(50)))
    stack.worker("llm")
    for batch in (first, second):
        assert stack.wait(batch).final["completed"] == 50
        stack.must_hold(batch, 50)
    assert stack.count(CHARGES) == 50
    assert coalesce.coalesce_due(stack.context) == 0
