"""A task of long documents is counted by its documents, with what all of their pieces took."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.rightsizing.evidence.seen import Period
from orchestrator.store.rightsizing import measured
from tests.flow.test_documents import SCHEMA, define, document, lines_of, long_document
from tests.stack import OWNER, Stack


@pytest.mark.parametrize("reduce, asks_once_more", [("merge-fields", False), ("tree", True)])
def test_documents_are_counted_whole(stack: Stack, reduce: str, asks_once_more: bool) -> None:
    stack.orchestrator()
    stack.worker("llm")
    more = {} if asks_once_more else {"output_schema": SCHEMA}
    task = define(stack, splitting={"reduce": reduce, "max_tokens": 1_000}, **more)
    lines = lines_of(stack, long_document("a.pdf"), document("b.txt"), hints={"task": task})
    costs = [Decimal(line["rightsize"]["cost_usd"]) for line in lines.values()]
    period = Period.of_days(None, None)
    with stack.context.database.unit_of_work() as session:
        (found,) = measured.models(session, OWNER.tenant_id, task, period.since, period.until)
        assert measured.tasks(session, OWNER.tenant_id, period.since, period.until) == [(task, 2)]
    assert stack.count("SELECT count(*) FROM attempts") > 4
    assert (found.jobs, found.rejected) == (2, 0)
    assert found.charge_usd == sum(costs) > 0
    assert found.charge_squares == sum(cost * cost for cost in costs)
    assert found.simulated is True
