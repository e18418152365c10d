"""What the doctor says of work that nobody will do."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from orchestrator.doctor import Finding, examine
from orchestrator.flow import read
from orchestrator.settings import Settings
from tests.stack import Stack, rows


def waiting(settings: Settings) -> list[Finding]:
    """The findings about jobs that wait for nobody."""
    return [one for one in examine(settings) if one.name == "waiting"]


def age(stack: Stack, seconds: float) -> None:
    """Make every job that old."""
    with stack.context.database.unit_of_work() as session:
        session.execute(text("UPDATE jobs SET created_at = now() - make_interval(secs => :age)"), {"age": seconds})


def test_jobs_that_wait_for_a_model_without_a_live_worker_do_not_hold(stack: Stack, tmp_path: Path) -> None:
    read.read_batch(stack.context, stack.submit(rows(3)))
    assert waiting(stack.settings) == []  # a moment ago: a worker may be about to come
    age(stack, 500)
    (found,) = waiting(stack.settings)
    assert not found.holds
    assert found.detail.startswith("Jobs have waited 500 s for fast, and no live worker serves it.")
    assert "`rightsize worker --tier llm`" in found.detail
    other = tmp_path / "other.toml"
    other.write_text(stack.settings.config.read_text().replace("models.fast", "models.quick"))  # type: ignore[union-attr]
    (found,) = waiting(stack.settings.model_copy(update={"config": other}))
    assert f"{other}, has no such model" in found.detail
    assert "--config" in found.detail
    requeued = "UPDATE jobs SET requeued = true WHERE row_number = 1 RETURNING id"
    assert len(stack.query(requeued)) == 1
    assert len(waiting(stack.settings)) == 1
    stack.worker("llm")
    assert waiting(stack.settings) == []
