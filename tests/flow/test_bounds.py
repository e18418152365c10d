"""What bounds an owner's jobs in flight holds for those that come back as well, and nobody's line is overlooked for long."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import text

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.errors import InvalidRequest
from orchestrator.flow import administer, lease, read, submit
from orchestrator.flow.administer import Actor
from orchestrator.flow.dispatch import Dispatcher
from orchestrator.requests import CHAT
from orchestrator.store import lanes, limits, tenants
from orchestrator.store.limits import Quota
from orchestrator.store.workers import Presence
from tests.stack import OWNER, Stack, chat, rows

IN_FLIGHT = "SELECT count(*) FROM jobs WHERE state = 2"


def project(stack: Stack, name: str) -> Owner:
    """An owner in a new project of the house."""
    with stack.context.database.unit_of_work() as session:
        made = tenants.add_project(session, OWNER.tenant_id, ids.uuid7(), name)
    assert made is not None
    return Owner(OWNER.tenant_id, made.id, OWNER.api_key_id)


def single(stack: Stack, owner: Owner, text_: str = "Hello") -> None:
    """A job outside any batch that waits in line."""
    submit.submit_job(stack.context, owner, CHAT, chat(text_, max_tokens=5), interactive=False, within_s=7_200.0)


def execute(stack: Stack, *statements: str) -> None:
    with stack.context.database.unit_of_work() as session:
        for statement in statements:
            session.execute(text(statement))


def passing(stack: Stack, slots: int) -> Dispatcher:
    """A dispatcher for a model with so many slots."""
    lease.beat(stack.context, uuid4(), [Presence("fast", "llm", slots, 1.0)], [], [])
    return Dispatcher(stack.context)


@pytest.mark.parametrize("scope, scope_id", [("project", OWNER.project_id), ("tenant", OWNER.tenant_id)])
@pytest.mark.parametrize("alone", [False, True])
def test_jobs_that_come_back_wait_where_as_many_as_may_be_are_in_flight(
    stack: Stack, scope: str, scope_id: int, alone: bool
) -> None:
    fast = stack.context.config.fleet.named("fast")
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, scope, scope_id, Quota(jobs_in_flight=4))
    stack.submit(rows(20))
    read.read_waiting(stack.context)
    dispatcher = passing(stack, 32)
    dispatcher.pass_over(fast)
    assert stack.count(IN_FLIGHT) == 4
    execute(
        stack,
        "UPDATE jobs SET state = 3, retry_at = now() WHERE state = 2",
        "UPDATE dispatches SET ended_at = now(), ending = 'done'",
    )
    dispatcher.pass_over(fast)
    assert stack.count(IN_FLIGHT) == 4, "others took the places"
    execute(stack, f"UPDATE jobs SET state = 1, requeued = true, alone = {alone}, retry_at = NULL WHERE state = 3")
    dispatcher.pass_over(fast)
    assert stack.count(IN_FLIGHT) == 4, "the bound holds"
    execute(
        stack,
        "UPDATE jobs SET state = 3, retry_at = now() + interval '1 hour' "
        "WHERE id IN (SELECT id FROM jobs WHERE state = 2 ORDER BY id LIMIT 3)",
    )
    dispatcher.pass_over(fast)
    assert stack.count(IN_FLIGHT) == 4
    assert stack.count(f"{IN_FLIGHT} AND requeued") == 3, "who came back goes before who waits"


def test_whoever_is_bounded_holds_up_nobody_else_who_came_back(stack: Stack) -> None:
    fast, other = stack.context.config.fleet.named("fast"), project(stack, "other")
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, "project", OWNER.project_id, Quota(jobs_in_flight=1))
    for owner in (OWNER, OWNER, OWNER, other, other, other):
        single(stack, owner)
    execute(stack, "UPDATE jobs SET requeued = true")
    passing(stack, 32).pass_over(fast)
    assert stack.count(f"{IN_FLIGHT} AND project_id = :id", id=OWNER.project_id) == 1
    assert stack.count(f"{IN_FLIGHT} AND project_id = :id", id=other.project_id) == 3


def test_a_key_gets_no_bound_that_would_not_hold(stack: Stack) -> None:
    actor = Actor(OWNER.tenant_id, "test")
    with pytest.raises(InvalidRequest, match="Set it on the key's project"):
        administer.set_quota(stack.context, actor, "key", "any", Quota(jobs_in_flight=5))
    administer.set_quota(stack.context, actor, "project", "default", Quota(jobs_in_flight=5))


def test_of_more_projects_than_one_pass_looks_at_each_has_its_turn(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MOST_SINGLES", 2)
    fast = stack.context.config.fleet.named("fast")
    owners = [OWNER, *(project(stack, f"p{number}") for number in range(4))]
    for owner in owners:
        for number in range(40):
            single(stack, owner, f"Hello {number}")
    dispatcher = passing(stack, 1)
    for _ in range(3):
        assert dispatcher.pass_over(fast) > 0
        execute(stack, "UPDATE dispatches SET ended_at = now(), ending = 'done'")
    assert stack.count("SELECT count(DISTINCT project_id) FROM jobs WHERE state = 2") == len(owners)


def test_a_scan_of_lanes_goes_on_behind_the_last_one_and_begins_anew_at_the_end(stack: Stack) -> None:
    owners = [OWNER, *(project(stack, f"p{number}") for number in range(4))]
    for owner in owners:
        single(stack, owner)
    every = sorted(-owner.project_id for owner in owners)
    with stack.context.database.unit_of_work() as session:

        def seen(after: int, most: int) -> list[int]:
            return [lane.id for lane in lanes.singles(session, "fast", after=after, most=most)]

        assert seen(lanes.FIRST, 10) == every
        assert seen(lanes.FIRST, 2) == every[:2]
        assert seen(every[1], 2) == every[2:4]
        assert seen(every[3], 3) == [every[4], *every[:2]]
        assert seen(every[3], 10) == [every[4], *every[:4]]
        assert seen(every[4], 2) == every[:2]
