"""What a model or its server does wrong, seen from the batch: retried within bounds, then told, and never charged."""

from __future__ import annotations

import pytest

from tests.stack import Stack, chat, row, rows


@pytest.mark.parametrize(
    "fault",
    ["f26-429", "f26-500", "f26-502", "f26-timeout", "f28-garbage", "f28-cut"],
)
def test_f26_f28_a_model_that_fails_for_good_spends_its_attempts_and_charges_nothing(stack: Stack, fault: str) -> None:
    kind = fault.partition("-")[2]
    stack.orchestrator()
    stack.worker()
    batch = stack.submit([*rows(5), row("bad", chat(f"[[fail:{kind}]] Hello"))])
    final = stack.wait(batch).final
    assert (final["completed"], final["failed"]) == (5, 1)
    failed = stack.query("SELECT state, attempts, held_usd FROM jobs WHERE custom_id = 'bad'")[0]
    assert (failed.state, failed.held_usd) == (11, 0)
    assert 1 <= failed.attempts <= 3
    bearer = stack.query(
        "SELECT DISTINCT t.debit_account FROM transfers t JOIN jobs j ON j.id = t.job_id WHERE custom_id = 'bad'"
    )
    assert [one.debit_account for one in bearer] == ["cost:house"]
    stack.must_hold(batch, 6)


def test_f26_a_model_that_recovers_is_retried_to_success(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    batch = stack.submit([row("late", chat("[[fail:500:1]] Hello"))])
    assert stack.wait(batch).final["completed"] == 1
    assert stack.query("SELECT attempts FROM jobs")[0].attempts == 2
    stack.must_hold(batch, 1)


def test_f27_a_model_that_hangs_past_the_deadline_expires_its_job_and_frees_its_slot(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker()
    batch = stack.submit([row("hangs", chat("[[sleep:60]] Hello")), *rows(3)], window="4s")
    ended = stack.wait(batch)
    assert ended.status == "expired"
    assert ended.final["states"] == {"succeeded": 3, "expired": 1}
    stack.must_hold(batch, 4)
