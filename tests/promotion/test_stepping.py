"""Steps that nobody asked for: an owner switched them on, and a certificate allows each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text as sql

from orchestrator.rightsizing.stages import promoting, stepping
from orchestrator.rightsizing.stages.promoting import Wish
from orchestrator.store import tasks
from orchestrator.store.rightsizing import stages
from tests.conftest import Servers
from tests.promotion.stacks import promotion_stack
from tests.promotion.test_evidence import learn
from tests.promotion.test_loop import TASK, run, texts
from tests.stack import OWNER, Stack, until

TENANT = OWNER.tenant_id
PAIRS = 1_100


@pytest.fixture(scope="module")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A specialist in the shadow, by itself from here on, that was compared with its reference on more rows than a first attempt wants."""
    with promotion_stack(servers, tmp_path_factory.mktemp("stepping"), "stepping") as made:
        learn(made, {"labels_from": "labels"})
        with made.context.database.unit_of_work() as session:
            tasks.put(session, TENANT, TASK, "six in ten", {"instructions": "Name the subject.", "quality_target": 0.6})
        promoting.promote(made.context, TENANT, Wish(TASK, "shadow", "test", audit_share=1.0, automatic=True))
        processes = [made.orchestrator(), made.worker("llm", "slm")]
        run(made, texts(PAIRS, 60))
        until(
            lambda: made.count("SELECT count(*) FROM audits WHERE state = 'decided'") == PAIRS, 60, "all are compared"
        )
        for one in processes:
            made.kill(one)
        yield made


def stage(stack: Stack) -> str:
    """The stage after every step that is due was taken."""
    stepping.step_all(stack.context)
    with stack.context.database.unit_of_work() as session:
        return stages.in_force(session, TENANT)[TASK].stage


def change(stack: Stack, statement: str) -> None:
    with stack.context.database.unit_of_work() as session:
        session.execute(sql(statement))


def test_the_shadow_is_certified_for_agreement_and_not_for_the_accuracy_that_its_task_aims_at(stack: Stack) -> None:
    assert stage(stack) == "canary"
    (found,) = stack.query("SELECT measure, target, issued, n FROM certificates")
    assert (found.measure, found.target, found.issued) == ("agreement", 0.98, True)
    assert found.n <= PAIRS / 2, "the other half laid the thresholds"


def test_a_canary_is_in_full_once_its_audits_are_there(stack: Stack) -> None:
    assert stage(stack) == "canary"
    change(stack, "UPDATE stages SET watch = jsonb_set(watch, '{seen}', '200') WHERE stage = 'canary'")
    assert stage(stack) == "full"
    assert stage(stack) == "full", "there is nothing beyond"


def test_what_is_frozen_stays(stack: Stack) -> None:
    change(stack, "UPDATE stages SET stage = 'canary' WHERE stage = 'full'")
    promoting.freeze(stack.context, TENANT, TASK, set_by="test")
    assert stage(stack) == "canary"
    change(stack, "UPDATE stages SET frozen = false, automatic = true")
    assert stage(stack) == "full"


def test_after_a_demotion_another_specialist_begins_in_the_shadow_and_not_at_once(stack: Stack) -> None:
    with stack.context.database.unit_of_work() as session:
        standing = stages.of_task(session, TENANT, TASK)
    assert standing is not None
    assert promoting.demote(stack.context, standing, "A test.")
    assert stage(stack) == "demoted"
    learn(stack, {"labels_from": "labels"}, seed=61)
    assert stage(stack) == "demoted", "it rests for a week"
    change(stack, "UPDATE stages SET created_at = created_at - interval '8 days'")
    assert stage(stack) == "shadow"
    assert stage(stack) == "shadow", "the certificate was about the other one"
