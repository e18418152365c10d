"""A job's path from end to end, on real processes."""

from __future__ import annotations

import base64
import io
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.errors import TierUnavailable
from orchestrator.flow.context import open_context
from orchestrator.flow.prepare import prepare
from orchestrator.hints import Hints
from orchestrator.order import LEAST_SEEN
from orchestrator.requests import CHAT
from orchestrator.settings import Settings
from tests.stack import OWNER, Stack, chat, row, rows


def test_a_batch_goes_from_rows_to_recorded_priced_results(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm", "rlm", "mllm")
    drawn = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(drawn, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
    picture = {"type": "image_url", "image_url": {"url": url}}
    lines = [
        *rows(300),
        row("grave", chat("Should we merge the companies?", rightsize={"stakes": "high"})),
        row("seen", {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]}),
    ]
    batch = stack.submit(lines)
    ended = stack.wait(batch)
    assert ended.status == "completed"
    assert (ended.final["total"], ended.final["completed"], ended.final["failed"]) == (302, 302, 0)
    stack.must_hold(batch, 302)
    by_id = {line["custom_id"]: line["rightsize"] for line in stack.lines(batch)}
    assert (by_id["row-0"]["tier"], by_id["grave"]["tier"], by_id["seen"]["tier"]) == ("llm", "rlm", "mllm")
    assert by_id["grave"]["rule"] == "high_stakes"
    assert all(line["simulated"] and line["reasons"] and float(line["cost_usd"]) > 0 for line in by_id.values())
    charged = stack.query("SELECT sum(amount_usd) FROM transfers WHERE kind = 'charge'")[0][0]
    assert f"{charged:f}" == ended.final["cost_usd"]


def test_an_interactive_job_is_assigned_in_its_own_transaction(stack: Stack) -> None:
    stack.worker("llm")
    job = stack.submit_now(chat("Hello"))
    assert job.interactive
    ended = stack.wait_job(job.public_id)
    assert (ended.state, ended.attempts) == (10, 1)
    stack.must_hold()


def test_a_batch_that_cannot_be_read_or_finished_does_not_hold_up_the_next(stack: Stack) -> None:
    spoilt = stack.submit(rows(1))
    stack.query('UPDATE batches SET hints = CAST(\'{"tier": "huge"}\' AS jsonb) WHERE id = :id RETURNING id', id=spoilt)
    batch = stack.submit(rows(3))
    stack.orchestrator()
    stack.worker()
    assert stack.wait(batch).final["completed"] == 3
    more = "INSERT INTO batch_progress (batch_id, tier, model, state, jobs) VALUES (:id, 'llm', 'fast', 10, 1) RETURNING id"
    stack.query(more, id=batch)
    stack.query("UPDATE batches SET total = 4, status = 'in_progress' WHERE id = :id RETURNING id", id=batch)
    assert stack.wait(stack.submit(rows(3))).final["completed"] == 3
    assert stack.batch(batch).status == "finalizing"


def test_a_batch_for_a_tier_that_the_fleet_lacks_is_refused_at_submit(settings: Settings, tmp_path: Path) -> None:
    config = tmp_path / "llm_only.toml"
    config.write_text('[models.house]\ntier = "llm"\nengine = "simulated"\n[[models.house.rates]]\nrequest = "0.001"\n')
    with Stack(settings.model_copy(update={"config": config})) as stack:
        with pytest.raises(TierUnavailable, match="No model of the fleet serves rlm; it serves llm"):
            stack.submit(rows(1), hints={"tier": "rlm"})
        assert stack.count("SELECT count(*) FROM batches") == 0


def test_the_order_within_a_batch_follows_what_the_tasks_answers_have_taught(stack: Stack) -> None:
    stack.orchestrator()
    stack.worker("llm")
    limits = {"brief": 1, "essay": 400}
    before = [
        row(f"{task}-{n}", chat(f"Where is parcel {n}?", rightsize={"task": task}, max_tokens=limit))
        for task, limit in limits.items()
        for n in range(LEAST_SEEN)
    ]
    stack.wait(stack.submit(before))
    with closing(open_context(stack.settings, "orchestrator")) as fresh:
        learnt = fresh.situation(OWNER.tenant_id).lengths
        assert round(learnt["brief", "fast"].expected(12)) == 1 < learnt["essay", "fast"].expected(12) < 400
        made = [
            prepare(
                fresh, CHAT, chat("Hello", rightsize={"task": task}, max_tokens=400), Hints(), fresh.situation(OWNER.tenant_id),
                public_id="0" * 32,
            )
            for task in ("brief", "essay", "unknown")
        ]  # fmt: skip
    brief, essay, unknown = (job.prefix_hash for job in made)
    assert unknown < essay < brief
