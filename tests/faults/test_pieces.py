"""Documents in pieces and equal ones, and the orchestrator that settles them killed in the middle of it."""

from __future__ import annotations

import signal

import pytest

from orchestrator.flow import tasks
from tests.flow.test_documents import LABELS, document, long_document
from tests.stack import OWNER, Stack, row

POINTS = ["reduce.before_commit"]


@pytest.mark.parametrize("point", POINTS)
def test_f5_an_orchestrator_killed_over_the_pieces_of_documents_loses_and_doubles_nothing(
    stack: Stack, point: str
) -> None:
    tasks.define(stack.context, OWNER, {"name": "long", "instructions": "Do it.", "splitting": {"max_tokens": 1_000}})
    stack.worker()
    names = [f"{number}.pdf" for number in range(5)]
    batch = stack.submit(
        [row(name, {"document": long_document(name, 9 + place)}) for place, name in enumerate(names)],
        hints={"task": "long"},
    )
    assert stack.orchestrator(crash_at=f"{point}:kill").wait(60) == -signal.SIGKILL
    stack.orchestrator()
    assert stack.wait(batch).final["completed"] == 5
    stack.must_hold(batch, 5)
    assert (
        stack.count("SELECT count(*) FROM results r JOIN jobs j ON j.id = r.job_id WHERE j.parent_job_id IS NULL") == 5
    )


def test_f5_an_orchestrator_killed_over_jobs_that_wait_for_a_result_loses_and_doubles_nothing(stack: Stack) -> None:
    stack.worker()
    rows = [row(f"{n}.txt", {"document": document(f"{n}.txt", f"Text {n % 3}")}) for n in range(30)]
    batch = stack.submit(rows, hints=LABELS)
    assert stack.orchestrator(crash_at="coalesce.before_commit:kill").wait(60) == -signal.SIGKILL
    stack.orchestrator()
    assert stack.wait(batch).final["completed"] == 30
    stack.must_hold(batch, 30)
    assert stack.count("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 3
