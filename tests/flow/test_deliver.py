"""The outbox on its way: a receiver that hangs holds up itself, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Final

import orjson
import pytest
from sqlalchemy import text

from orchestrator.contracts import JobState
from orchestrator.flow import cancel, notify, submit
from orchestrator.flow.deliver import AT_ONCE, SHARES, Deliveries
from orchestrator.requests import CHAT
from orchestrator.store import limits
from orchestrator.webhooks.send import Delivery, Sender
from tests.stack import OWNER, Stack, chat, until

PEOPLE: Final = (
    "INSERT INTO tenants (id, public_id, name) VALUES (2, gen_random_uuid(), 'two')",
    "INSERT INTO api_keys (id, public_id, tenant_id, project_id, name, hash) VALUES (1, gen_random_uuid(), 1, 1, 'one', '')",
    "INSERT INTO projects (id, public_id, tenant_id, name) VALUES (2, gen_random_uuid(), 2, 'two'), (3, gen_random_uuid(), 1, 'three')",
)
ALL: Final = "{rightsize.job.ended,rightsize.budget.alert}"
TAKEN: Final = Delivery("delivered", "The receiver took the message (200).", 200)


class Receivers(Sender):
    """Receivers by their URLs: one with `hang` in it takes nothing until it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.let_go = threading.Event()
        self._lock = threading.Lock()

    def send(self, url: str, secrets: object, message_id: str, payload: bytes) -> Delivery:
        with self._lock:
            self.asked.append(url)
            self.at_once[url] = self.at_once.get(url, 0) + 1
            self.most[url] = max(self.most.get(url, 0), self.at_once[url])
        if "hang" in url:
            self.let_go.wait(30)
        with self._lock:
            self.at_once[url] -= 1
        if "fault" in url:
            raise ValueError("of ours")
        return TAKEN


@pytest.fixture
def receivers(stack: Stack) -> Iterator[Receivers]:
    change(stack, *PEOPLE)
    made = Receivers()
    yield made
    made.let_go.set()


@pytest.fixture
def deliveries(stack: Stack, receivers: Receivers) -> Iterator[Deliveries]:
    with closing(Deliveries(stack.context, receivers, lambda: None)) as made:
        yield made
        receivers.let_go.set()


def change(stack: Stack, *statements: str) -> None:
    with stack.context.database.unit_of_work() as session:
        for statement in statements:
            session.execute(text(statement))


def endpoint(stack: Stack, name: str, tenant: int = 1, project: int = 1, events: int = 0, age_s: int = 0) -> None:
    """An endpoint with so many events that are due for so long."""
    change(
        stack,
        "WITH made AS (INSERT INTO webhook_endpoints (public_id, tenant_id, project_id, name, url, events, secrets) VALUES "
        f"(gen_random_uuid(), {tenant}, {project}, '{name}', 'https://{name}', '{ALL}', '{{x}}') RETURNING id) "
        "INSERT INTO webhook_deliveries (public_id, tenant_id, endpoint_id, type, payload, next_at) "
        f"SELECT gen_random_uuid(), {tenant}, made.id, 'x', '', now() - make_interval(secs => {age_s}) FROM made, generate_series(1, {events})",
    )  # fmt: skip


def delivered(stack: Stack, name: str) -> int:
    return stack.count(
        "SELECT count(*) FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id "
        "WHERE e.name = :name AND d.delivered_at IS NOT NULL",
        name=name,
    )


def test_an_endpoint_that_hangs_with_a_long_backlog_holds_up_no_other(
    stack: Stack, receivers: Receivers, deliveries: Deliveries
) -> None:
    endpoint(stack, "hangs", events=200, age_s=3600)
    endpoint(stack, "works", events=30)
    until(lambda: (deliveries.step(), delivered(stack, "works") == 30)[1], 10, "the other is told of everything")
    assert max(receivers.most.values()) == receivers.asked.count("https://hangs") == SHARES.of_endpoint


def test_a_tenant_all_of_whose_endpoints_hang_leaves_room_for_the_others(
    stack: Stack, receivers: Receivers, deliveries: Deliveries
) -> None:
    for number in range(AT_ONCE):
        endpoint(stack, f"hangs-{number}", events=5, age_s=3600)
    endpoint(stack, "works", tenant=2, project=2, events=10)
    until(lambda: (deliveries.step(), delivered(stack, "works") == 10)[1], 10, "the other tenant is told of everything")
    assert len([url for url in receivers.asked if "hangs" in url]) == SHARES.of_tenant


def test_what_was_sent_is_noted_at_the_end_and_what_hangs_is_waited_for(stack: Stack, receivers: Receivers) -> None:
    endpoint(stack, "hangs", events=1)
    woken = threading.Event()
    deliveries = Deliveries(stack.context, receivers, woken.set)
    assert deliveries.step() == 0
    assert not woken.is_set()
    threading.Timer(0.2, receivers.let_go.set).start()
    deliveries.close()
    assert woken.is_set()
    assert delivered(stack, "hangs") == 1


def test_a_fault_of_ours_in_one_event_is_tried_again_and_keeps_no_other_from_being_noted(
    stack: Stack, receivers: Receivers, deliveries: Deliveries
) -> None:
    endpoint(stack, "fault", events=1)
    endpoint(stack, "works", events=1)
    until(lambda: (deliveries.step(), delivered(stack, "works"))[1], 10)
    until(
        lambda: (
            deliveries.step(),
            stack.count("SELECT count(*) FROM webhook_deliveries WHERE last_code = 'not_sent'"),
        )[1],
        10,
    )
    assert stack.count("SELECT count(*) FROM webhook_deliveries WHERE last_code = 'not_sent' AND next_at > now()") == 1


def told(stack: Stack) -> list[tuple[str, dict[str, object]]]:
    """Endpoint and data of every event, in the order of the endpoints."""
    found = stack.query(
        "SELECT e.name, d.payload FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id ORDER BY e.name, d.id"
    )
    return [(row.name, orjson.loads(row.payload)["data"]) for row in found]


def test_a_job_that_is_cancelled_or_expires_before_it_runs_is_told_once_and_its_batch_and_its_caller_are_not(
    stack: Stack, receivers: Receivers
) -> None:
    endpoint(stack, "mine")
    endpoint(stack, "other", project=3)
    context = stack.context
    made = {
        name: submit.submit_job(
            context, OWNER, CHAT, chat(name), interactive=name == "asked", within_s=60, idempotency_key=None
        ).public_id
        for name in ("cancelled", "expired", "asked")
    }
    cancel.cancel_job(context, OWNER, made["cancelled"])
    cancel.cancel_job(context, OWNER, made["cancelled"])
    cancel.cancel_job(context, OWNER, made["asked"])
    change(stack, f"UPDATE jobs SET deadline = now() WHERE public_id = '{made['expired']}'")
    assert cancel.expire_singles(context) == 1
    assert told(stack) == [
        ("mine", {"id": f"job_{made['cancelled'].hex}", "state": JobState.CANCELLED.label}),
        ("mine", {"id": f"job_{made['expired'].hex}", "state": JobState.EXPIRED.label}),
    ]


def test_an_alert_names_its_budget_as_the_api_does_and_goes_to_its_project_alone(
    stack: Stack, receivers: Receivers
) -> None:
    endpoint(stack, "mine")
    endpoint(stack, "other", project=3)
    endpoint(stack, "stranger", tenant=2, project=2)
    with stack.context.database.unit_of_work() as session:
        for scope, scope_id in (("tenant", 1), ("project", 1), ("key", 1)):
            limits.set_budget(session, 1, scope, scope_id, "day", Decimal(0))  # type: ignore[arg-type]
    assert notify.tell_alerts(stack.context) == 3
    ids = {
        scope: f"{prefix}_{stack.query(f'SELECT public_id FROM {table} WHERE id = 1')[0][0].hex}"
        for scope, prefix, table in (
            ("tenant", "tenant", "tenants"),
            ("project", "proj", "projects"),
            ("key", "key", "api_keys"),
        )
    }
    found = [(name, data["scope"], data["scope_id"]) for name, data in told(stack)]
    assert sorted(found) == sorted(
        [("mine", scope, name) for scope, name in ids.items()] + [("other", "tenant", ids["tenant"])]
    )
