"""Requests that are submitted together: each is refused or taken for itself, and tenants are never in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from orchestrator import ids
from orchestrator.contracts import Owner
from orchestrator.errors import Backpressure, IdempotencyConflict, OverQuota, RightsizeError, ServiceUnavailable
from orchestrator.flow import gather
from orchestrator.flow.admit import OverBudget
from orchestrator.flow.context import Context, open_context
from orchestrator.flow.gather import Gatherers, Made, Waiting, accept_all
from orchestrator.flow.submit import Prepared, Submitted, prepare_job
from orchestrator.requests import CHAT
from orchestrator.store import limits, tenants
from orchestrator.store.limits import Quota
from tests.stack import OWNER, Stack, chat, until

JOBS = "SELECT count(*) FROM jobs"


def asked(context: Context, text_: str = "Hello", *, key: str | None = None, owner: Owner = OWNER) -> Prepared:
    """A request that is ready to be stored."""
    return prepare_job(
        context, owner, CHAT, chat(text_, max_tokens=10), interactive=True, within_s=60.0, idempotency_key=key
    )


def kinds(made: Sequence[Made]) -> list[type]:
    """What became of each."""
    return [type(one) for one in made]


def test_a_group_becomes_jobs_with_dispatches_messages_and_one_hold(stack: Stack) -> None:
    group = [asked(stack.context, f"Hello {n}", key="first" if n == 0 else None) for n in range(5)]
    made = accept_all(stack.context, OWNER, group)
    assert [one.public_id for one in made if isinstance(one, Submitted)] == [one.public_id for one in group]
    for one in group:
        stored = stack.job(one.public_id)
        assert (stored.state, stored.held_usd, stored.model, stored.lane) == (2, one.job.held_usd, one.job.model, -1)
    assert stack.query("SELECT held_usd FROM budgets")[0][0] == sum(one.job.held_usd for one in group)
    assert stack.broker.redis.llen("rightsize.llm.now") == 5
    stack.worker()
    until(lambda: stack.count(f"{JOBS} WHERE state = 10") == 5)
    stack.must_hold()


def test_a_budget_that_has_room_for_two_takes_two_and_refuses_the_others(stack: Stack) -> None:
    group = [asked(stack.context, f"Hello {n}") for n in range(4)]
    room = group[0].job.held_usd * Decimal("2.5")
    with stack.context.database.unit_of_work() as session:
        limits.set_budget(session, 1, "project", 1, "total", room)
    made = accept_all(stack.context, OWNER, group)
    assert kinds(made) == [Submitted, Submitted, OverBudget, OverBudget]
    assert stack.count(JOBS) == 2
    assert stack.query("SELECT held_usd FROM budgets")[0][0] == 2 * group[0].job.held_usd
    assert stack.count("SELECT count(*) FROM budgets WHERE refused_at IS NOT NULL") == 1
    stack.must_hold()


def test_a_key_used_for_something_else_is_refused_alone_and_twins_are_one_job(stack: Stack) -> None:
    known = accept_all(stack.context, OWNER, [asked(stack.context, "known", key="a")])[0]
    assert isinstance(known, Submitted)
    group = [
        asked(stack.context, "new"),
        asked(stack.context, "known", key="a"),
        asked(stack.context, "twin", key="b"),
        asked(stack.context, "twin", key="b"),
    ]
    made: list[Any] = accept_all(stack.context, OWNER, group)
    assert kinds(made) == [Submitted] * 4
    assert made[1].public_id == known.public_id
    assert made[2].public_id == made[3].public_id
    assert stack.count(JOBS) == 3
    mixed = accept_all(stack.context, OWNER, [asked(stack.context, "x"), asked(stack.context, "other", key="a")])
    assert kinds(mixed) == [Submitted, IdempotencyConflict]
    assert stack.count(JOBS) == 4
    stack.must_hold()


@pytest.mark.parametrize("text_", ["a\0b", "a\ud800b"])
def test_what_cannot_be_stored_or_is_over_a_quota_leaves_its_neighbours_alone(stack: Stack, text_: str) -> None:
    good, bad, last = (asked(stack.context, f"Hello {n}") for n in range(3))
    bad = replace(bad, job=replace(bad.job, reasons=text_))
    made = accept_all(stack.context, OWNER, [good, bad, last])
    assert [isinstance(one, Submitted) for one in made] == [True, False, True]
    assert isinstance(made[1], RightsizeError)
    with stack.context.database.unit_of_work() as session:
        limits.set_quota(session, 1, "project", 1, Quota(jobs_queued=3))
    stack.context._quotas.clear()
    assert kinds(accept_all(stack.context, OWNER, [asked(stack.context, "x"), asked(stack.context, "y")])) == [
        Submitted,
        OverQuota,
    ]
    assert stack.count(JOBS) == 3
    stack.must_hold()


def test_a_known_key_is_answered_where_new_work_is_refused(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    known = asked(stack.context, key="a")
    accept_all(stack.context, OWNER, [known])
    monkeypatch.setattr(stack.context, "settings", stack.settings.model_copy(update={"max_queued_jobs": 0}))
    stack.context.backlog.queued, stack.context.backlog.read_at = 5, float("inf")
    made = accept_all(stack.context, OWNER, [asked(stack.context, key="a"), asked(stack.context, "new")])
    assert kinds(made) == [Submitted, Backpressure]


def test_a_database_that_does_not_answer_is_told_to_all_and_nothing_is_tried_twice(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = [asked(stack.context), asked(stack.context)]

    def away(*_: object) -> None:
        raise ServiceUnavailable("away")

    monkeypatch.setattr(gather, "admit", away)
    monkeypatch.setattr(gather, "accept", lambda *_: pytest.fail("it may be committed already"))
    assert kinds(accept_all(stack.context, OWNER, group)) == [ServiceUnavailable] * 2


class Told:
    """What gatherers delivered."""

    def __init__(self) -> None:
        self.groups: list[list[tuple[Waiting, Made]]] = []

    def __call__(self, made: Sequence[tuple[Waiting, Made]]) -> None:
        self.groups.append(list(made))

    def all(self) -> int:
        return sum(len(group) for group in self.groups)


def test_owners_of_two_tenants_are_never_in_one_group_and_a_stuck_one_holds_up_nobody(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        other = tenants.add(session, ids.uuid7(), "other")
        assert other is not None
        project = tenants.add_project(session, other.id, ids.uuid7(), "default")
        assert project is not None
    stranger = Owner(other.id, project.id, 2)
    context, told, stuck = open_context(stack.settings, "app"), Told(), threading.Event()
    gatherers = Gatherers(context, told)

    def prepare(owner: Owner, n: int, wait: Callable[[], object]) -> Prepared:
        wait()
        return asked(context, f"{n}", owner=owner)

    gatherers.put(Waiting(OWNER, partial(prepare, OWNER, 0, stuck.wait), 0))
    for n in range(1, 40):
        owner = stranger if n % 2 else OWNER
        gatherers.put(Waiting(owner, partial(prepare, owner, n, lambda: None), n))
    until(lambda: told.all() == 20, what="the other tenant's are there while one of ours is stuck")
    stuck.set()
    gatherers.close()
    context.close()
    assert sorted(one.place for group in told.groups for one, _ in group) == list(range(40))  # type: ignore[type-var]
    assert all(len({one.owner for one, _ in group}) == 1 for group in told.groups)
    assert any(len(group) > 1 for group in told.groups)
    assert stack.count(f"{JOBS} WHERE tenant_id = 1") == stack.count(f"{JOBS} WHERE tenant_id = :t", t=other.id) == 20
    stack.must_hold()


def test_a_request_that_is_refused_or_broken_before_it_is_stored_leaves_the_others(stack: Stack) -> None:
    told = Told()
    gatherers = Gatherers(stack.context, told)

    def broken() -> Prepared:
        raise RuntimeError("of ours")

    gatherers.put(Waiting(OWNER, broken, "broken"))
    gatherers.put(Waiting(OWNER, partial(asked, stack.context), "good"))
    gatherers.close()
    found: dict[Any, Made] = {one.place: made for group in told.groups for one, made in group}
    assert isinstance(found["good"], Submitted)
    assert isinstance(found["broken"], RightsizeError)
    assert stack.count(JOBS) == 1
