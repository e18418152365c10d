"""Recovery settles the losses of a pass at once, so that it never waits for somebody who waits for it."""

from __future__ import annotations

import threading
from decimal import Decimal
from uuid import uuid4

import psycopg
from sqlalchemy import text

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.flow import claim, recover, submit
from orchestrator.flow.context import open_context
from orchestrator.requests import CHAT
from orchestrator.store import budgets, tenants
from orchestrator.store.budgets import Settlement
from tests.stack import OWNER, Stack, chat, until

WAITS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def lose(stack: Stack, owner: Owner) -> None:
    """A job in its last attempt, whose worker is never heard of again."""
    submit.submit_job(stack.context, owner, CHAT, chat("Hello", max_tokens=5), interactive=True, within_s=600.0)
    (sent,) = stack.query("SELECT id FROM dispatches WHERE claimed_at IS NULL")
    worker = open_context(stack.settings, "worker")
    try:
        assert isinstance(claim.claim(worker, sent.id, uuid4(), alone=False), claim.Claimed)
    finally:
        worker.close()


def waits(stack: Stack) -> bool:
    """Whether anybody waits for a lock; our own roles do not see what each other's connections do."""
    with psycopg.connect(stack.settings.require_database()) as connection:
        return connection.execute(WAITS).fetchone() is not None


def test_losses_of_several_projects_lock_their_budgets_in_the_order_of_everybody_else(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        made = tenants.add_project(session, OWNER.tenant_id, ids.uuid7(), "second")
    assert made is not None
    first, second = OWNER, Owner(OWNER.tenant_id, made.id, OWNER.api_key_id)
    for owner in (second, first):  # so that recovery comes to the second project's job first
        lose(stack, owner)
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE jobs SET attempts = :most - 1"), {"most": stack.context.limits.max_attempts})
        session.execute(text("UPDATE dispatches SET lease_until = now() - interval '1 second'"))
    found: list[recover.Recovered] = []
    with stack.context.database.unit_of_work() as session:
        budgets.settle(session, {(first, 0): Settlement(Decimal(0), Decimal(0))})
        recovery = threading.Thread(target=lambda: found.append(recover.recover(stack.context)))
        recovery.start()
        until(lambda: waits(stack), what="recovery waits for the first project's budget")
        budgets.settle(session, {(second, 0): Settlement(Decimal(0), Decimal(0))})
    recovery.join(30)
    assert [one.lost for one in found] == [2]
    assert {one.state for one in stack.query("SELECT state FROM jobs")} == {11}
    assert {one.held_usd for one in stack.query("SELECT held_usd FROM budgets")} == {0}
    stack.must_hold()
